/** DNS servers behind a service: dig over UDP and TCP against unbound, and a client that keeps its port. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { eventually } from '../../support/eventually.ts'
import type { Application, Place, Stage, Target } from './support/application.ts'

const port = 5300
let asked = 0

const dig = ({ host }: Target, ...rest: string[]) => [
  ...['dig', '+short', '+tries=1', '+time=20', '-p', `${port}`, `@${host}`, ...rest, 'name.test', 'TXT'],
]

export const dns: Application = {
  name: 'dns',
  needs: ['unbound', 'dig'],
  port,
  protocols: ['UDP', 'TCP'],
  server: async ({ ip, name, folder }) => {
    const file = join(folder, 'unbound.conf')
    const lines = [
      ...['server:', `interface: ${ip}@${port}`, 'access-control: 0.0.0.0/0 allow', 'do-daemonize: no', 'chroot: ""'],
      ...['username: ""', 'pidfile: ""', `directory: "${folder}"`, 'use-syslog: no', 'logfile: ""', 'num-threads: 1'],
      ...['module-config: "iterator"', `local-zone: "test." static`, `local-data: 'name.test. TXT "${name}"'`],
      `local-data: 'large.test. TXT ${['w', 'x', 'z', 'y'].map(letter => `"${letter.repeat(200)}"`).join(' ')}'`,
      ...['remote-control:', 'control-enable: no', ''],
    ]
    await writeFile(file, lines.join('\n'))
    return ['unbound', '-d', '-c', file]
  },
  /** Over UDP and TCP in turn. */
  once: async (place, to) => nameIn(await place.run(dig(to, asked++ % 2 ? '+tcp' : '+notcp'))),
  session: async (place, to) => {
    // Another port than that of any other client of this run.
    const from = `0.0.0.0#${20_000 + (asked++ % 10_000)}`
    return {
      use: async (timeoutMs = 20_000) => nameIn(await place.run(dig(to, '+notcp', '-b', from), { timeoutMs })),
      close: () => {},
    }
  },
  own: { 'large answers': largeAnswers, refused: refused },
}

function nameIn(answer: string): string {
  const name = /^"([a-z]+)"$/m.exec(answer)?.[1]
  assert.ok(name, `no answer: ${answer.trim()}`)
  return name
}

/** An answer that UDP has no room for is truncated, and asked for again over TCP. */
async function largeAnswers(stage: Stage): Promise<void> {
  const ask = (place: Place, ...how: string[]) =>
    place.run(['dig', '+tries=1', '+time=5', '-p', `${port}`, `@${stage.target.host}`, ...how, 'large.test', 'TXT'])
  assert.match(await ask(stage.place, '+ignore', '+noedns'), /flags:[^;]* tc/)
  assert.match(await ask(stage.place, '+noedns'), /y{200}/)
}

/** Once Starlane knows that there is no pod, a resolver is told so and does not wait. */
async function refused(stage: Stage): Promise<void> {
  await Promise.all(['one', 'two'].map(name => stage.endPod(name)))
  for (const how of ['+notcp', '+tcp']) {
    await eventually(async () => {
      const answer = await stage.place.run(dig(stage.target, how, '+time=2')).catch((error: Error) => error.message)
      assert.match(answer, /refused/)
    }, 20_000)
  }
}
