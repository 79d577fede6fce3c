/** What a decision in TypeScript costs: time on JavaScript's thread for each connection, while a native thread moves the bytes. */
import { wrk } from '../load/http.ts'
import { notInstalled } from '../report/machine.ts'
import type { Sample } from '../report/table.ts'
import { startHttp } from './backends.ts'
import { type Contender, start } from './contenders.ts'
import type { Plan } from './plan.ts'
import { alternate } from './rounds.ts'

export const decisions: Plan = {
  name: 'decision',
  title: 'Decisions in TypeScript',
  lacks: () => notInstalled('nginx') ?? notInstalled('wrk'),
  async run(setting) {
    const { place, rounds, seconds, connections } = setting
    const contenders = await start(
      ['native alone', 'starlane, native, no plugins', 'starlane, native'],
      { protocol: 'TCP', backends: await startHttp(place) },
      setting,
    )
    return [
      {
        key: 'decision',
        title: "JavaScript's thread, per connection",
        how: `A connection per request by wrk, ${connections} at a time. The scheduler's own account of the thread on which all TypeScript runs: choosing, counting, health checks and garbage collection included. "native alone" takes its backends in turn; "starlane" runs the default plugins.`,
        columns: [
          { key: 'decisionUs', title: "us/connection on JavaScript's thread", digits: 2 },
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
  if (!child) throw new Error('it has no process of its own')
  const before = { decision: child.mainThreadCpu(), all: child.cpu() }
  const answered = await wrk(port, { path: '/small', mode: 'close', connections, seconds })
  const perRequest = (cpu: number) => (cpu * 1e6) / answered.requests
  return {
    decisionUs: perRequest(child.mainThreadCpu() - before.decision),
    cpuUs: perRequest(child.cpu() - before.all),
    perSecond: answered.requests / answered.seconds,
  }
}
