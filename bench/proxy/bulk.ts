/** Bulk transfer: iperf3 through the proxy in both directions, and HTTP bodies of 1 and 10 MiB. */
import { setTimeout as wait } from 'node:timers/promises'
import { wrk } from '../load/http.ts'
import { stdoutOf } from '../load/stdout.ts'
import { installed, notInstalled } from '../report/machine.ts'
import type { Sample, Table } from '../report/table.ts'
import { startHttp, startIperf } from './backends.ts'
import { type Contender, type Measured, type Name, ofTcp, start } from './contenders.ts'
import type { Plan } from './plan.ts'
import { perRequest } from './requests.ts'
import { alternate } from './rounds.ts'

const names: readonly Name[] = [...ofTcp, 'haproxy, splice']
const peers = ['haproxy', 'nginx', 'haproxy, splice']

const bodies = [
  { key: 'bodies', title: 'Keep-alive requests, 1 MiB', path: '/large', connections: 8 },
  { key: 'bodies-10', title: 'Keep-alive requests, 10 MiB', path: '/huge', connections: 4 },
] as const

export const bulk: Plan = {
  name: 'bulk',
  title: 'Bulk',
  lacks: () =>
    installed('iperf3') || (installed('wrk') && installed('nginx')) ? undefined : 'iperf3 is not installed',
  async run(setting) {
    const { place, rounds, seconds } = setting
    const tables: Table[] = []
    if (!notInstalled('iperf3')) {
      const contenders = await start(names, { protocol: 'TCP', backends: await startIperf(place) }, setting)
      for (const way of ['download', 'upload'] as const) {
        tables.push({
          ...{ key: way, title: `Bulk ${way}`, how: `iperf3, one connection, ${seconds} s in each round.`, peers },
          columns: [
            { key: 'cpuMs', title: 'CPU ms/GiB', digits: 0 },
            { key: 'gbits', title: 'Gbit/s', digits: 1 },
          ],
          rows: await alternate<Contender>(contenders, rounds, contender => perGiB(contender, way, seconds)),
        })
      }
    }
    if (installed('wrk') && installed('nginx')) {
      const contenders = await start(names, { protocol: 'TCP', backends: await startHttp(place) }, setting)
      for (const { key, title, path, connections } of bodies) {
        const load = { path, mode: 'keep-alive', connections, seconds } as const
        tables.push({
          ...{ key, title, how: `wrk, closed loop, ${connections} connections.`, peers },
          columns: [
            { key: 'cpuUs', title: 'CPU us/request', digits: 0 },
            { key: 'perSecond', title: 'requests/s', digits: 0 },
            { key: 'p99Ms', title: 'p99 ms', digits: 1 },
            { key: 'failed', title: 'failed', digits: 0, sum: true },
          ],
          rows: await alternate<Contender>(contenders, rounds, each => perRequest(each, port => wrk(port, load))),
        })
      }
    }
    return tables
  },
}

interface Report {
  readonly error?: string
  readonly end: { readonly sum_received?: { readonly bytes: number; readonly seconds: number } }
}

/** The iperf3 server runs one test at a time and may still be finishing the last one. */
const maxTries = 10

export async function perGiB({ port, child }: Measured, way: 'download' | 'upload', seconds: number): Promise<Sample> {
  const args = ['--client', '127.0.0.1', '--port', String(port), '--time', String(seconds), '--json']
  for (let tries = 1; ; tries++) {
    const before = child?.cpu() ?? 0
    const { error, end } = JSON.parse(
      await stdoutOf('iperf3', way === 'download' ? [...args, '--reverse'] : args),
    ) as Report
    const { bytes, seconds: took } = end.sum_received ?? { bytes: 0, seconds: 0 }
    if (bytes > 0) {
      const cpu = child ? { cpuMs: ((child.cpu() - before) * 1e3) / (bytes / 2 ** 30) } : undefined
      return { ...cpu, gbits: (bytes * 8) / took / 1e9 }
    }
    if (tries === maxTries) throw new Error(`iperf3: ${error ?? 'no byte arrived'}`)
    await wait(200)
  }
}
