/**
 * Latency at a rate that every contender can carry, in an open loop (load/open-loop.c): each request is due at a fixed time
 * and its latency counts from then, so that a stall counts against every request it delays.
 */
import { wrk } from '../load/http.ts'
import { stdoutOf } from '../load/stdout.ts'
import { notInstalled } from '../report/machine.ts'
import type { Sample, Table } from '../report/table.ts'
import { startHttp } from './backends.ts'
import { type Contender, start } from './contenders.ts'
import type { Plan } from './plan.ts'
import { program } from './program.ts'
import { alternate } from './rounds.ts'

const parts = [30, 60]

export const latency: Plan = {
  name: 'latency',
  title: 'Latency at a fixed rate',
  lacks: () => notInstalled('nginx') ?? notInstalled('wrk'),
  async run(setting) {
    const { place, rounds, seconds, connections } = setting
    const generator = program('open-loop', place)
    const contenders = await start(
      ['direct', 'starlane, streams', 'starlane, native', 'native alone', 'haproxy', 'nginx', 'bare relay'],
      { protocol: 'TCP', backends: await startHttp(place) },
      setting,
    )
    const most = await slowest(
      contenders.filter(each => 'port' in each),
      connections,
    )
    const tables: Table[] = []
    for (const part of parts) {
      const rate = Math.round((most * part) / 100)
      const args = ['/small', connections, rate, seconds].map(String)
      tables.push({
        key: `latency-${part}`,
        title: `Keep-alive requests at ${rate} per second, ${part} % of the slowest contender's maximum`,
        how: `load/open-loop.c: ${rate} requests per second over ${connections} connections; latency counts from when a request was due.`,
        columns: [
          { key: 'p99Us', title: 'p99 us', digits: 0 },
          { key: 'p50Us', title: 'p50 us', digits: 0 },
          { key: 'p999Us', title: 'p99.9 us', digits: 0, plotted: true },
          { key: 'cpuUs', title: 'CPU us/request', digits: 1 },
          { key: 'failed', title: 'failed', digits: 0, sum: true },
        ],
        peers: ['haproxy', 'nginx'],
        rows: await alternate<Contender>(contenders, rounds, async ({ port, child }): Promise<Sample> => {
          const before = child?.cpu() ?? 0
          const answered = JSON.parse(await stdoutOf(generator, [String(port), ...args])) as Record<string, number>
          // CPU time includes the half second of warm-up.
          const asked = rate * (seconds + 0.5)
          return { ...answered, ...(child ? { cpuUs: ((child.cpu() - before) * 1e6) / asked } : {}) }
        }),
      })
    }
    return tables
  },
}

/** Requests per second of the slowest contender in a closed loop; one that answers nothing does not count. */
async function slowest(contenders: readonly Contender[], connections: number): Promise<number> {
  const rates: number[] = []
  for (const { port } of contenders) {
    const answered = await wrk(port, { path: '/small', mode: 'keep-alive', connections, seconds: 1 }).catch(
      () => undefined,
    )
    if (answered && answered.requests > 0) rates.push(answered.requests / answered.seconds)
  }
  if (rates.length === 0) throw new Error('no contender answers')
  return Math.min(...rates)
}
