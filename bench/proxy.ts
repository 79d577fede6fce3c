/**
 * Starlane beside a direct connection, HAProxy and nginx stream, in one run and in alternating rounds:
 *
 *     npm run bench -- --rounds=5 --seconds=3
 *
 * What counts is the CPU time per request of the proxy's processes; compare it within one table only. Requests per second
 * and latency are those of a closed loop on this machine. Writes bench/results/proxy.md and proxy.json.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  type Contender,
  direct,
  startBackends,
  startEngine,
  startHaproxy,
  startNginx,
  startStarlane,
} from './contenders.ts'
import { cannon, type Generator, type Load, wrk } from './load.ts'
import { missing, thisMachine } from './machine.ts'
import { stopAll } from './process.ts'
import { type Measured, page, type Row, type Table, tableText } from './report.ts'

const { values } = parseArgs({
  options: {
    /** How often each contender is measured; the tables show medians. */
    rounds: { type: 'string', default: '5' },
    /** Seconds of load per measurement. */
    seconds: { type: 'string', default: '3' },
    connections: { type: 'string', default: '64' },
    /** The first of ten ports; below net.ipv4.ip_local_port_range, or a port may be in use when it is needed. */
    port: { type: 'string', default: '18080' },
  },
})
const rounds = positive('rounds')
const seconds = positive('seconds')
const connections = positive('connections')
const port = positive('port')

const loads: readonly (Load & { title: string })[] = [
  { title: 'Keep-alive, 100 bytes', mode: 'keep-alive', body: '/small', connections, seconds },
  { title: 'A connection per request, 100 bytes', mode: 'close', body: '/small', connections, seconds },
  { title: 'Keep-alive, 1 MiB', mode: 'keep-alive', body: '/large', connections: 8, seconds },
]

const machine = thisMachine()
const loadBefore = loadavg()[0] ?? 0
const generators: Readonly<Record<string, Generator>> =
  machine.wrk === missing ? { cannon } : { wrk, autocannon: cannon }
const folder = mkdtempSync(join(tmpdir(), 'starlane-bench-'))
const tables: Table[] = []
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void stopAll().then(() => process.exit(1)))
}
try {
  const contenders = await start()
  for (const [generator, ask] of Object.entries(generators)) {
    for (const load of loads) {
      const table = { title: `${load.title} (${generator})`, rows: await measure(contenders, load, ask) }
      tables.push(table)
      console.log(`\n${tableText(table)}`)
    }
  }
} finally {
  await stopAll()
  rmSync(folder, { recursive: true })
}
save()

/** The direct connection first; a peer that does not start is a row that says why. */
async function start(): Promise<(Contender | Row)[]> {
  const backends = [port, port + 1, port + 2]
  await startBackends(folder, backends)
  const orRow = (name: string, starting: Promise<Contender>) =>
    starting.catch((error: Error): Row => ({ name, note: error.message, rounds: [] }))
  return [
    direct(port),
    await startStarlane(folder, port + 4, backends),
    await startEngine('streams', port + 7, backends),
    await orRow('native alone', startEngine('native', port + 8, backends)),
    await orRow('haproxy', startHaproxy(folder, port + 5, backends)),
    await orRow('nginx', startNginx(folder, port + 6, backends)),
  ]
}

/** Every other round goes backwards, so that whatever drifts does not always meet the same one. */
async function measure(contenders: readonly (Contender | Row)[], load: Load, ask: Generator): Promise<Row[]> {
  const running = contenders.filter(each => 'port' in each)
  const results = new Map<string, Measured[]>(running.map(({ name }) => [name, []]))
  for (const { port } of running) await ask(port, { ...load, seconds: 1 })
  for (let round = 0; round < rounds; round++) {
    for (const { name, port, child } of round % 2 ? running.toReversed() : running) {
      const before = child?.cpu() ?? 0
      const { requests, failed, seconds, p99Ms } = await ask(port, load)
      const cpu = (child?.cpu() ?? 0) - before
      const cpuUs = child && requests > 0 ? (cpu * 1e6) / requests : undefined
      results.get(name)?.push({ cpuUs, perSecond: requests / seconds, p99Ms, failed })
    }
  }
  return contenders.map(each => ('port' in each ? { name: each.name, rounds: results.get(each.name) ?? [] } : each))
}

function save(): void {
  const results = new URL('results/', import.meta.url)
  const run = { at: new Date().toISOString(), machine, loadBefore, rounds, seconds, connections, tables }
  mkdirSync(results, { recursive: true })
  writeFileSync(new URL('proxy.json', results), `${JSON.stringify(run, undefined, 2)}\n`)
  writeFileSync(new URL('proxy.md', results), page(run))
}

function positive(name: keyof typeof values): number {
  const number = Number(values[name])
  if (Number.isInteger(number) && number > 0) return number
  console.error(`--${name}=${values[name]} is not a positive whole number`)
  process.exit(2)
}
