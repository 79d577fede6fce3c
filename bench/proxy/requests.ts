/** Small HTTP requests: keep-alive, and one connection per request. */
import { type Answered, cannon, type Load, wrk } from '../load/http.ts'
import { installed, notInstalled } from '../report/machine.ts'
import type { Sample, Table } from '../report/table.ts'
import { startHttp } from './backends.ts'
import { type Contender, type Measured, ofTcp, start } from './contenders.ts'
import type { Plan } from './plan.ts'
import { alternate, warmUp } from './rounds.ts'

/** autocannon only checks the figures of wrk. */
const maxAutocannonRounds = 3

const columns: Table['columns'] = [
  { key: 'cpuUs', title: 'CPU us/request', digits: 1 },
  { key: 'perSecond', title: 'requests/s', digits: 0 },
  { key: 'p99Ms', title: 'p99 ms', digits: 1 },
  { key: 'failed', title: 'failed', digits: 0, sum: true },
]

export const requests: Plan = {
  name: 'requests',
  title: 'Small requests',
  lacks: () => notInstalled('nginx'),
  async run(setting) {
    const { place, rounds, seconds, connections } = setting
    const backends = await startHttp(place)
    const contenders = await start([...ofTcp, 'bare relay'], { protocol: 'TCP', backends }, setting)
    const keepAlive = { path: '/small', mode: 'keep-alive', connections, seconds } as const
    const close: Load = { ...keepAlive, mode: 'close' }
    const measure = async (
      key: string,
      title: string,
      how: string,
      ask: (port: number) => Promise<Answered>,
      times = rounds,
    ) => {
      await warmUp<Contender>(contenders, ({ port }) => ask(port))
      return {
        ...{ key, title, how: `${how}, ${connections} connections at a time.`, columns, peers: ['haproxy', 'nginx'] },
        rows: await alternate<Contender>(contenders, times, contender => perRequest(contender, ask)),
      }
    }
    const title = 'Keep-alive requests, 100 bytes'
    const times = Math.min(rounds, maxAutocannonRounds)
    const byCannon = `autocannon, closed loop, ${times} rounds`
    const tables = [await measure('keep-alive-autocannon', title, byCannon, port => cannon(port, keepAlive), times)]
    if (!installed('wrk')) return tables
    const byWrk = 'wrk, closed loop'
    return [
      await measure('keep-alive', title, byWrk, port => wrk(port, keepAlive)),
      await measure('close', 'A connection per request, 100 bytes', byWrk, port => wrk(port, close)),
      ...tables.map(table => ({ ...table, title: `${table.title} (autocannon)` })),
    ]
  },
}

/** CPU time of the contender per request, with the figures of the load generator. */
export async function perRequest({ port, child }: Measured, ask: (port: number) => Promise<Answered>): Promise<Sample> {
  const before = child?.cpu() ?? 0
  const { requests, failed, seconds, p99Ms } = await ask(port)
  if (requests === 0) throw new Error('no request was answered')
  const cpuUs = child ? { cpuUs: ((child.cpu() - before) * 1e6) / requests } : undefined
  return { ...cpuUs, perSecond: requests / seconds, p99Ms, failed }
}
