/** Messages of 64 KiB that are asked and answered, as of databases and RPC: each waits for the one before it, so that a pause is felt. */
import { stdoutOf } from '../load/stdout.ts'
import type { Sample, Table } from '../report/table.ts'
import { startServing } from './backends.ts'
import { type Contender, ofTcp, start } from './contenders.ts'
import type { Plan } from './plan.ts'
import { program } from './program.ts'
import { alternate } from './rounds.ts'

const large = 64 * 1024
const small = 128

const loads = [
  { key: 'exchange-both', title: 'Messages of 64 KiB each way', connections: 1, asked: large, answered: large },
  { key: 'exchange-answers', title: 'Answers of 64 KiB', connections: 4, asked: small, answered: large },
  { key: 'exchange-questions', title: 'Questions of 64 KiB', connections: 4, asked: large, answered: small },
]

export const exchanges: Plan = {
  name: 'exchanges',
  title: 'Large messages, asked and answered',
  lacks: () => undefined,
  async run(setting) {
    const { place, rounds, seconds } = setting
    const generator = program('exchange', place)
    const backends = await startServing(generator, place)
    const contenders = await start(ofTcp, { protocol: 'TCP', backends }, setting)
    const tables: Table[] = []
    for (const { key, title, connections, asked, answered } of loads) {
      const shape = `${connections} ${connections === 1 ? 'connection' : 'connections'}, ${asked} bytes asked and ${answered} answered`
      tables.push({
        ...{ key, title, how: `load/exchange.c, closed loop: ${shape}.` },
        columns: [
          { key: 'p50Us', title: 'p50 us', digits: 0 },
          { key: 'p99Us', title: 'p99 us', digits: 0 },
          { key: 'cpuUs', title: 'CPU us', digits: 0 },
          { key: 'perSecond', title: 'exchanges/s', digits: 0 },
        ],
        peers: ['haproxy', 'nginx'],
        rows: await alternate<Contender>(contenders, rounds, async ({ port, child }): Promise<Sample> => {
          const before = child?.cpu() ?? 0
          const args = [port, connections, asked, answered, seconds].map(String)
          const { exchanges, ...times } = JSON.parse(await stdoutOf(generator, ['ask', ...args])) as Exchanges
          const cpu = child ? { cpuUs: ((child.cpu() - before) * 1e6) / exchanges } : undefined
          return { ...times, ...cpu, perSecond: exchanges / seconds }
        }),
      })
    }
    return tables
  },
}

interface Exchanges {
  readonly exchanges: number
  readonly p50Us: number
  readonly p99Us: number
}
