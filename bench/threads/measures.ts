/** What a connection, a request, a GiB and a datagram cost each thread of an engine with N pumps, and how evenly pumps share the work. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Answered, wrk } from '../load/http.ts'
import { stdoutOf } from '../load/stdout.ts'
import { answersDatagrams, Child } from '../process.ts'
import { startEcho, startHttp, startIperf } from '../proxy/backends.ts'
import { objects, startProduct } from '../proxy/contenders.ts'
import type { Place } from '../proxy/place.ts'
import { program } from '../proxy/program.ts'
import { alternate } from '../proxy/rounds.ts'
import type { Column, Sample, Table } from '../report/table.ts'

export interface Setting {
  readonly place: Place
  /** Pumps to compare. */
  readonly pumps: readonly number[]
  readonly cores: number
  readonly rounds: number
  readonly seconds: number
  readonly connections: number
}

interface Contender {
  readonly name: string
  readonly port: number
  readonly child: Child
  readonly pumps: number
}

/** Of the figures that all tables have. */
const shared: readonly Column[] = [
  { key: 'fairness', title: 'least/most busy pump', digits: 2 },
  { key: 'busyCores', title: 'busy cores', digits: 2 },
  { key: 'allUs', title: 'of the machine', digits: 1 },
  { key: 'failed', title: 'failed', digits: 0, sum: true },
]

export const product = (pumps: number) => `product, ${pumps}`
export const alone = (pumps: number) => `engine, ${pumps}`

/** A connection per request, and keep-alive, through the whole product and through the engine alone. */
export async function measureHttp(setting: Setting): Promise<Table[]> {
  const { place, pumps, cores, rounds, seconds, connections } = setting
  // What loads and what answers gets as much of a larger machine as the pumps.
  const helpers = Math.max(1, Math.floor(cores / 4))
  const backends = await startHttp(place, helpers)
  const contenders: Contender[] = []
  for (const count of pumps) {
    contenders.push(await startWhole(place, backends, count), await startAlone(place, backends, count))
  }
  const load = { path: '/small', connections: connections * helpers, seconds, threads: helpers } as const
  const tables: Table[] = []
  for (const [mode, what] of [
    ['close', 'connection'],
    ['keep-alive', 'request'],
  ] as const) {
    tables.push({
      key: mode,
      title: mode === 'close' ? 'A connection per request, 100 bytes' : 'Keep-alive requests, 100 bytes',
      how: `wrk, closed loop, ${load.connections} connections at a time. CPU in microseconds per ${what}.`,
      columns: [
        { key: 'pumpsUs', title: 'pumps', digits: 1 },
        { key: 'scriptUs', title: "JavaScript's thread", digits: 1 },
        { key: 'firstUs', title: 'accepting', digits: 1 },
        { key: 'perSecond', title: `${what}s/s`, digits: 0 },
        ...shared,
      ],
      peers: [],
      rows: await alternate<Contender>(contenders, rounds, ({ child, port }) =>
        sampleOf(child, async () => {
          const { requests, failed, seconds }: Answered = await wrk(port, { ...load, mode })
          return { units: requests, failed, seconds }
        }),
      ),
    })
  }
  for (const { child } of contenders) await child.stop()
  return tables
}

/** Four connections at once, through the engine alone: the product has no part in bytes. Units are GiB. */
export async function measureBulk(setting: Setting): Promise<Table> {
  const { place, pumps, rounds, seconds } = setting
  const backends = await startIperf(place)
  const contenders: Contender[] = []
  for (const count of pumps) contenders.push(await startAlone(place, backends, count))
  const table: Table = {
    key: 'bulk',
    title: 'Bulk, four connections',
    how: 'iperf3, downloads. CPU in milliseconds per GiB.',
    columns: [
      { key: 'pumpsMs', title: 'pumps', digits: 0 },
      { key: 'gbits', title: 'Gbit/s', digits: 1 },
      { key: 'fairness', title: 'least/most busy pump', digits: 2 },
      { key: 'busyCores', title: 'busy cores', digits: 2 },
      { key: 'allMs', title: 'of the machine', digits: 0 },
    ],
    peers: [],
    rows: await alternate<Contender>(contenders, rounds, async ({ child, port }) => {
      const args = ['--client', '127.0.0.1', '--port', `${port}`, '--time', `${seconds}`, '--json', '--reverse']
      const sample = await sampleOf(child, async () => {
        const { error, end } = JSON.parse(await stdoutOf('iperf3', [...args, '--parallel', '4'])) as Report
        const { bytes = 0, seconds: took = 0 } = end.sum_received ?? {}
        if (!(bytes > 0)) throw new Error(`iperf3: ${error ?? 'no byte arrived'}`)
        return { units: bytes / 2 ** 30, failed: 0, seconds: took }
      })
      const { pumpsUs = 0, allUs = 0, perSecond = 0, ...rest } = sample
      return { ...rest, pumpsMs: pumpsUs / 1000, allMs: allUs / 1000, gbits: (perSecond * 2 ** 30 * 8) / 1e9 }
    }),
  }
  for (const { child } of contenders) await child.stop()
  return table
}

/** Clients of all frontends together. */
const udpClients = 64

/** Each has one datagram in flight, at the same time at each of several frontends, since a pump carries whole frontends. */
export async function measureDatagrams(setting: Setting): Promise<Table> {
  const { place, pumps, rounds, seconds } = setting
  const backends = await startEcho(place)
  const generator = program('datagrams', place)
  const frontends = Math.max(...pumps)
  const clients = Math.max(1, Math.floor(udpClients / frontends))
  const contenders: Served[] = []
  for (const count of pumps) contenders.push(await startDatagrams(place, backends, count, frontends))
  const table: Table = {
    key: 'datagrams',
    title: 'Datagrams, 64 bytes',
    how: `load/datagrams.c at ${frontends} frontends at once, ${clients} clients each with one datagram in flight, through the product. A round trip is two datagrams; CPU in microseconds per round trip. *Least/most served client* compares the clients of one frontend; of the frontends the lowest counts.`,
    columns: [
      { key: 'pumpsUs', title: 'pumps', digits: 1 },
      { key: 'scriptUs', title: "JavaScript's thread", digits: 2 },
      { key: 'perSecond', title: 'round trips/s', digits: 0 },
      { key: 'fairness', title: 'least/most busy pump', digits: 2 },
      { key: 'clients', title: 'least/most served client', digits: 2 },
      { key: 'busyCores', title: 'busy cores', digits: 2 },
      { key: 'allUs', title: 'of the machine', digits: 1 },
      { key: 'failed', title: 'lost', digits: 0, sum: true },
    ],
    peers: [],
    rows: await alternate<Served>(contenders, rounds, async ({ child, ports }) => {
      let fairest = 1
      const sample = await sampleOf(child, async () => {
        const results = await Promise.all(
          ports.map(async port => {
            const args = ['ask', port, clients, 1, 64, seconds].map(String)
            return JSON.parse(await stdoutOf(generator, args)) as RoundTrips
          }),
        )
        fairest = Math.min(...results.map(({ least, most }) => least / Math.max(most, 1)))
        const sum = (of: (each: RoundTrips) => number) => results.reduce((all, each) => all + of(each), 0)
        return { units: sum(each => each.roundTrips), failed: sum(each => each.lost), seconds }
      })
      return { ...sample, clients: fairest }
    }),
  }
  for (const { child } of contenders) await child.stop()
  return table
}

interface Served {
  readonly name: string
  readonly ports: readonly number[]
  readonly child: Child
}

interface RoundTrips {
  readonly roundTrips: number
  readonly least: number
  readonly most: number
  readonly lost: number
}

async function startDatagrams(
  place: Place,
  backends: readonly number[],
  pumps: number,
  frontends: number,
): Promise<Served> {
  const ports = Array.from({ length: frontends }, () => place.port())
  const manifests = ports.flatMap((port, i) =>
    objects({ name: `bench-${i}`, address: '127.0.0.1', port }, { protocol: 'UDP', backends }),
  )
  const answers = async () => (await Promise.all(ports.map(answersDatagrams))).every(Boolean)
  return { name: product(pumps), ports, child: await startProduct(place, manifests, configOf(pumps), answers) }
}

interface Report {
  readonly error?: string
  readonly end: { readonly sum_received?: { readonly bytes: number; readonly seconds: number } }
}

/** One run of a load, with the CPU time of each thread per unit of work. */
async function sampleOf(
  child: Child,
  run: () => Promise<{ readonly units: number; readonly failed: number; readonly seconds: number }>,
): Promise<Sample> {
  const before = child.threadsCpu()
  const idleBefore = busySeconds()
  const since = performance.now()
  const { units, failed, seconds } = await run()
  const took = (performance.now() - since) / 1000
  const busy = busySeconds() - idleBefore
  if (units === 0) throw new Error('nothing was carried')
  const spent = [...child.threadsCpu()].map(([id, { name, seconds }]) => ({
    id,
    name,
    seconds: seconds - (before.get(id)?.seconds ?? 0),
  }))
  // The first that was started accepts.
  const pumps = spent.filter(({ name }) => name === 'starlane pump').sort((a, b) => a.id - b.id)
  const inPumps = pumps.map(({ seconds }) => seconds)
  const [first = 0, ...others] = inPumps
  const total = inPumps.reduce((sum, each) => sum + each, 0)
  const script = Math.min(...spent.map(({ id }) => id))
  const scriptSeconds = spent.find(({ id }) => id === script)?.seconds ?? 0
  const mean = others.reduce((sum, each) => sum + each, 0) / Math.max(others.length, 1)
  return {
    pumpsUs: (total * 1e6) / units,
    scriptUs: (scriptSeconds * 1e6) / units,
    ...(others.length > 0 ? { firstUs: ((first - mean) * 1e6) / units } : {}),
    perSecond: units / seconds,
    fairness: Math.min(...inPumps) / Math.max(...inPumps),
    busyCores: busy / took,
    allUs: (busy * 1e6) / units,
    failed,
  }
}

/** CPU seconds of everything on this machine since it was started. */
function busySeconds(): number {
  const [, user = 0, nice = 0, system = 0, , , interrupts = 0, soft = 0] =
    /^cpu .*$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[0].split(/\s+/).map(Number) ?? []
  return (user + nice + system + interrupts + soft) / 100
}

async function startWhole(place: Place, backends: readonly number[], pumps: number): Promise<Contender> {
  const port = place.port()
  const manifests = objects({ name: 'bench', address: '127.0.0.1', port }, { protocol: 'TCP', backends })
  return { name: product(pumps), port, child: await startProduct(place, manifests, configOf(pumps)), pumps }
}

function configOf(pumps: number): string {
  return `proxy: { engine: native, threads: ${pumps}, limits: { connections: 20000 } }\n`
}

async function startAlone(place: Place, backends: readonly number[], pumps: number): Promise<Contender> {
  const port = place.port()
  const serve = fileURLToPath(new URL('../serve.ts', import.meta.url))
  const to = backends.map(backend => `--backend=127.0.0.1:${backend}`)
  const args = [serve, '--engine=native', `--threads=${pumps}`, `--listen=127.0.0.1:${port}`, ...to]
  return { name: alone(pumps), port, child: await Child.start(process.execPath, args, [port]), pumps }
}
