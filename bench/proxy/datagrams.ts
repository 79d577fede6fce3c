/** UDP round trips through the proxy, compared with nginx. */
import { stdoutOf } from '../load/stdout.ts'
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
    title: 'UDP, 64 clients with one datagram of 64 bytes in flight',
  },
  {
    key: 'udp-burst',
    clients: 8,
    window: 32,
    size: 1200,
    title: 'UDP, 8 clients with 32 datagrams of 1200 bytes in flight',
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
      ['direct', 'starlane, streams', 'starlane, native', 'streams alone', 'native alone', 'nginx', 'bare relay'],
      { protocol: 'UDP', backends: await startEcho(place) },
      setting,
    )
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
          const result = JSON.parse(await stdoutOf(generator, ['ask', String(port), ...args])) as RoundTrips
          if (result.roundTrips === 0) throw new Error('no datagram came back')
          const cpu = child ? { cpuUs: ((child.cpu() - before) * 1e6) / result.roundTrips } : undefined
          return { ...cpu, perSecond: result.roundTrips / result.seconds, lost: result.lost }
        }),
      })
    }
    return tables
  },
}

interface RoundTrips {
  readonly roundTrips: number
  readonly lost: number
  readonly seconds: number
}
