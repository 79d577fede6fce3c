/** Redis: calls, a connection that stays, publish and subscribe, and a blocking BLPOP. */
import assert from 'node:assert/strict'
import type { Application, Place, Stage, Target } from './support/application.ts'

const port = 6379
const cli = ({ host, port }: Target, ...rest: string[]) => ['redis-cli', '-h', host, '-p', `${port}`, ...rest]

export const redis: Application = {
  name: 'redis',
  needs: ['redis-server', 'redis-cli'],
  port,
  protocols: ['TCP'],
  server: ({ ip, folder }) => [
    ...['redis-server', '--bind', ip, '--port', `${port}`, '--dir', folder, '--save', '', '--protected-mode', 'no'],
  ],
  ready: async ({ ip, name }, place) => void (await place.run(cli({ host: ip, port }, 'set', 'name', name))),
  once: async (place, to) => nameIn(await place.run(cli(to, '-e', 'get', 'name'))),
  session: async (place, to) => {
    const client = place.open(cli(to))
    let count = 0
    return {
      use: async timeoutMs => {
        // The number shows that an answer belongs to its question.
        client.say(`eval "return redis.call('get','name')..' ${++count}'" 0`)
        const [, answer = ''] = await client.hear(
          new RegExp(`^(.* ${count}|.*(?:Could not|Error|closed).*)$`),
          timeoutMs,
        )
        return nameIn(answer.split(' ')[0] ?? '')
      },
      close: () => client.kill(),
    }
  },
  own: { 'pub/sub': subscribed, BLPOP: blocked },
}

function nameIn(answer: string): string {
  assert.match(answer.trim(), /^[a-z]+$/)
  return answer.trim()
}

/** A subscriber that is silent through flaps and a reload gets every message, in order. */
async function subscribed(stage: Stage): Promise<void> {
  const subscriber = stage.pod.open(cli(stage.target, 'subscribe', 'news'))
  await subscriber.hear(/^subscribe$/)
  const publish = async (text: string) => {
    for (const { pod } of stage.pods.values())
      await stage.fabric.run(cli({ host: pod.ip, port }, 'publish', 'news', text))
  }
  await publish('first')
  await subscriber.hear(/^first$/)
  for (const state of ['unready', 'ready', 'terminating', 'ready'] as const) {
    await stage.declare({ one: state, two: state })
    await publish(state)
    await subscriber.hear(new RegExp(`^${state}$`))
  }
  await stage.reload({ balancer: 'random' })
  await publish('last')
  await subscriber.hear(/^last$/)
  await subscriber.kill()
}

/** A client that waits for an element gets it, whichever state its pod is in. */
async function blocked(stage: Stage): Promise<void> {
  for (const state of ['ready', 'unready', 'terminating'] as const) {
    const place: Place = stage.pod
    const waiting = place.open(cli(stage.target, 'blpop', 'queue', '0'))
    await waitForBlocked(stage)
    await stage.declare({ one: state, two: state })
    for (const { pod } of stage.pods.values())
      await stage.fabric.run(cli({ host: pod.ip, port }, 'rpush', 'queue', state))
    await waiting.hear(new RegExp(`^${state}$`))
    for (const { pod } of stage.pods.values()) await stage.fabric.run(cli({ host: pod.ip, port }, 'del', 'queue'))
    await stage.declare({ one: 'ready', two: 'ready' })
    await Promise.all(['one', 'two'].map(name => stage.knows(name, true)))
  }
}

async function waitForBlocked(stage: Stage): Promise<void> {
  for (let i = 0; i < 100; i++) {
    for (const { pod } of stage.pods.values()) {
      const info = await stage.fabric.run(cli({ host: pod.ip, port }, 'info', 'clients'))
      if (/blocked_clients:[1-9]/.test(info)) return
    }
  }
  throw new Error('no client is blocked')
}
