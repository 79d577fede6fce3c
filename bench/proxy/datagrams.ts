/** UDP round trips, against nginx. */
import { createSocket } from 'node:dgram'
import { setTimeout as wait } from 'node:timers/promises'
import { say } from '../load/say.ts'
import type { Sample, Table } from '../report/table.ts'
import { startEcho } from './backends.ts'
import { type Contender, start } from './contenders.ts'
import type { Plan } from './plan.ts'
import { program } from './program.ts'
import { alternate } from './rounds.ts'

const loads = [
  {
    key: 'udp-single',
    clients: 64,
    window: 1,
    size: 64,
    title: 'UDP, 64 clients with one datagram of 64 bytes under way',
  },
  {
    key: 'udp-burst',
    clients: 8,
    window: 32,
    size: 1200,
    title: 'UDP, 8 clients with 32 datagrams of 1200 bytes under way',
  },
]

export const datagrams: Plan = {
  name: 'udp',
  title: 'Datagrams',
  lacks: () => undefined,
  async run(setting) {
    const { place, rounds, seconds } = setting
    const generator = program('datagrams', place)
    const contenders = await start(
      ['direct', 'starlane, streams', 'starlane, native', 'streams alone', 'native alone', 'nginx'],
      { protocol: 'UDP', backends: await startEcho(place) },
      setting,
    )
    for (const each of contenders) if ('port' in each) await answers(each)
    const tables: Table[] = []
    for (const { key, title, clients, window, size } of loads) {
      const args = [clients, window, size, seconds].map(String)
      tables.push({
        ...{ key, title, how: 'load/datagrams.c, closed loop; a round trip is two datagrams through the proxy.' },
        columns: [
          { key: 'cpuUs', title: 'CPU us/round trip', digits: 1 },
          { key: 'perSecond', title: 'round trips/s', digits: 0 },
          { key: 'lost', title: 'lost', digits: 0, sum: true },
        ],
        peers: ['nginx'],
        rows: await alternate<Contender>(contenders, rounds, async ({ port, child }): Promise<Sample> => {
          const before = child?.cpu() ?? 0
          const heard = JSON.parse(await say(generator, ['ask', String(port), ...args])) as Heard
          if (heard.roundTrips === 0) throw new Error('no datagram came back')
          const cpu = child ? { cpuUs: ((child.cpu() - before) * 1e6) / heard.roundTrips } : undefined
          return { ...cpu, perSecond: heard.roundTrips / heard.seconds, lost: heard.lost }
        }),
      })
    }
    return tables
  },
}

interface Heard {
  readonly roundTrips: number
  readonly lost: number
  readonly seconds: number
}

/** UDP has no accept to wait for: asks until something comes back. */
async function answers({ name, port }: Contender): Promise<void> {
  const socket = createSocket('udp4')
  socket.on('error', () => {}) // nobody listens yet
  let heard = false
  socket.on('message', () => {
    heard = true
  })
  for (let tries = 0; tries < 200 && !heard; tries++) {
    socket.send('are you there', port, '127.0.0.1')
    await wait(50)
  }
  socket.close()
  if (!heard) throw new Error(`${name} does not answer on UDP port ${port}`)
}
