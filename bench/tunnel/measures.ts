/** What is measured of the pairs on one machine: requests, connections, bulk, and the latency that they add. */
import { wrk } from '../load/http.ts'
import { stdoutOf } from '../load/stdout.ts'
import { startHttp, startIperf } from '../proxy/backends.ts'
import { perGiB } from '../proxy/bulk.ts'
import type { Place } from '../proxy/place.ts'
import { program } from '../proxy/program.ts'
import { perRequest } from '../proxy/requests.ts'
import { alternate } from '../proxy/rounds.ts'
import type { Table } from '../report/table.ts'
import { type Certificates, type Pair, peer, startPairs } from './contenders.ts'

export interface Setting {
  readonly place: Place
  readonly rounds: number
  readonly seconds: number
  readonly connections: number
  /** Requests per second for the latency. */
  readonly rate: number
  readonly among: readonly string[] | undefined
}

const peers = [peer]

export async function measureHttp(setting: Setting, certificates: Certificates): Promise<Table[]> {
  const { place, rounds, seconds, connections, rate, among } = setting
  const pairs = await startPairs(among, await startHttp(place), place, certificates)
  const columns: Table['columns'] = [
    { key: 'cpuUs', title: 'CPU us/request', digits: 1 },
    { key: 'perSecond', title: 'requests/s', digits: 0 },
    { key: 'p99Ms', title: 'p99 ms', digits: 1 },
    { key: 'failed', title: 'failed', digits: 0, sum: true },
  ]
  const byMode = async (mode: 'keep-alive' | 'close', title: string): Promise<Table> => ({
    ...{ key: mode, title, how: `wrk, closed loop, ${connections} connections at a time.`, columns, peers },
    rows: await alternate<Pair>(pairs, rounds, pair =>
      perRequest(pair, port => wrk(port, { path: '/small', mode, connections, seconds })),
    ),
  })
  const generator = program('open-loop', place)
  const args = ['/small', connections, rate, seconds].map(String)
  return [
    await byMode('keep-alive', 'Requests on connections that stay, 100 bytes'),
    await byMode('close', 'A connection for each request, 100 bytes'),
    {
      key: 'latency',
      title: `Latency at ${rate} requests per second`,
      how: `load/open-loop.c over ${connections} connections: latency counts from when a request was due.`,
      columns: [
        { key: 'p50Us', title: 'p50 us', digits: 0 },
        { key: 'p99Us', title: 'p99 us', digits: 0 },
        { key: 'p999Us', title: 'p99.9 us', digits: 0 },
        { key: 'failed', title: 'failed', digits: 0, sum: true },
      ],
      peers,
      rows: await alternate<Pair>(pairs, rounds, async ({ port }) =>
        JSON.parse(await stdoutOf(generator, [String(port), ...args])),
      ),
    },
  ]
}

export async function measureBulk(
  { place, rounds, seconds, among }: Setting,
  certificates: Certificates,
): Promise<Table[]> {
  const pairs = await startPairs(among, await startIperf(place), place, certificates)
  const tables: Table[] = []
  for (const way of ['download', 'upload'] as const) {
    tables.push({
      ...{ key: way, title: `Bulk ${way}`, how: `iperf3, one connection, ${seconds} s in each round.`, peers },
      columns: [
        { key: 'cpuMs', title: 'CPU ms/GiB', digits: 0 },
        { key: 'gbits', title: 'Gbit/s', digits: 2 },
      ],
      rows: await alternate<Pair>(pairs, rounds, pair => perGiB(pair, way, seconds)),
    })
  }
  return tables
}
