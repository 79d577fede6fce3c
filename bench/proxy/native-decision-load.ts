/** Cost of the native engine's decisions under load: time on the JavaScript thread per connection while a native thread moves the bytes. */
import { wrk } from '../load/http.ts'
import { notInstalled } from '../report/machine.ts'
import type { Sample } from '../report/table.ts'
import { startHttp } from './backends.ts'
import { type Contender, start } from './contenders.ts'
import type { Plan } from './plan.ts'
import { alternate, warmUp } from './rounds.ts'

export const nativeDecision: Plan = {
  name: 'native-decision',
  title: 'Decisions of the native engine',
  lacks: () => notInstalled('nginx') ?? notInstalled('wrk'),
  async run(setting) {
    const { place, rounds, seconds, connections } = setting
    const contenders = await start(
      ['native alone', 'starlane, native, no plugins', 'starlane, native'],
      { protocol: 'TCP', backends: await startHttp(place) },
      setting,
    )
    await warmUp<Contender>(contenders, each => perConnection(each, connections, seconds))
    return [
      {
        key: 'native-decision',
        title: 'JavaScript thread, per connection',
        how: `wrk, a connection per request, ${connections} at a time. Run time from schedstat of the thread that runs all TypeScript, with health checks, metrics and garbage collection. "native alone" takes its backends in turn; "starlane" runs the default plugins.`,
        columns: [
          { key: 'mainThreadUs', title: 'JavaScript thread us/connection', digits: 2 },
          { key: 'cpuUs', title: 'CPU us/connection, all threads', digits: 1 },
          { key: 'perSecond', title: 'connections/s', digits: 0 },
        ],
        peers: [],
        rows: await alternate<Contender>(contenders, rounds, each => perConnection(each, connections, seconds)),
      },
    ]
  },
}

export async function perConnection({ port, child }: Contender, connections: number, seconds: number): Promise<Sample> {
  if (!child) throw new Error('a direct connection has no process to measure')
  const before = { mainThread: child.mainThreadCpu(), all: child.cpu() }
  const answered = await wrk(port, { path: '/small', mode: 'close', connections, seconds })
  const perRequest = (cpu: number) => (cpu * 1e6) / answered.requests
  return {
    mainThreadUs: perRequest(child.mainThreadCpu() - before.mainThread),
    cpuUs: perRequest(child.cpu() - before.all),
    perSecond: answered.requests / answered.seconds,
  }
}
