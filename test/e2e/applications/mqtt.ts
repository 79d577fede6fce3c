/** MQTT: mosquitto with subscribers that stay, and messages of quality of service 1. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Application, Stage } from './support/application.ts'

const port = 1883

export const mqtt: Application = {
  name: 'mqtt',
  needs: ['mosquitto', 'mosquitto_pub', 'mosquitto_sub', 'mosquitto_rr'],
  port,
  protocols: ['TCP'],
  server: async ({ ip, folder }) => {
    const file = join(folder, 'mosquitto.conf')
    await writeFile(
      file,
      `listener ${port} ${ip}\nallow_anonymous true\npersistence false\nuser root\nlog_type error\n`,
    )
    return ['mosquitto', '-c', file]
  },
  ready: async ({ ip, name }, place) => publish(place, ip, 'name', name, '-r'),
  once: async (place, { host }) => {
    const answer = await place.run(['mosquitto_sub', '-h', host, '-p', `${port}`, '-t', 'name', '-C', '1', '-W', '45'])
    return answer.trim()
  },
  session: async (place, { host }, stage) => {
    const client = place.open(['mosquitto_sub', '-h', host, '-p', `${port}`, '-q', '1', '-t', 'name', '-t', 'talk'])
    await client.hear(/^[a-z]+$/)
    let count = 0
    return {
      /** Each pod gets a message with its name directly; the one that the client is connected to passes it on. */
      use: async timeoutMs => {
        const text = ++count
        const heard = client.hear(new RegExp(`^([a-z]+) ${text}$`), timeoutMs)
        heard.catch(() => {})
        await Promise.allSettled(
          [...stage.pods.values()].map(({ pod }) =>
            publish(stage.fabric, pod.ip, 'talk', `${pod.name} ${text}`, '-q', '1'),
          ),
        )
        return (await heard)[1] ?? ''
      },
      close: () => client.kill(),
    }
  },
  own: { 'request and response': requestAndResponse },
}

async function publish(
  place: Stage['place'],
  ip: string,
  topic: string,
  text: string,
  ...rest: string[]
): Promise<void> {
  await place.run(['mosquitto_pub', '-h', ip, '-p', `${port}`, '-t', topic, '-m', text, ...rest])
}

/** A client that publishes and gets its own message back by the same connection, of 200 KiB. */
async function requestAndResponse(stage: Stage): Promise<void> {
  const text = 'x'.repeat(100_000)
  for (let i = 0; i < 5; i++) {
    const command = [
      'mosquitto_rr',
      '-h',
      stage.target.host,
      '-p',
      `${port}`,
      '-q',
      '1',
      '-W',
      '45',
      '-t',
      'a',
      '-e',
      'a',
    ]
    assert.equal((await stage.place.run([...command, '-m', text])).trim(), text)
  }
}
