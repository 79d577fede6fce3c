/**
 * Benchmark of tunnels: a direct connection, Starlane with and without a tunnel, two HAProxies with mutual TLS between them, and a ztunnel where
 * `STARLANE_ZTUNNEL` names one, in one run.
 *
 *     npm run bench:tunnel                                about ten minutes; writes bench/results/tunnel/README.md
 *     npm run bench:tunnel -- --only=http --rounds=3 --dry
 *
 * CPU is that of all processes of a pair, the gateway too. Compare figures within one table only.
 */
import { writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { commandLine } from '../../scripts/command-line.ts'
import { enterNamespace } from '../namespace.ts'
import { stopAll, stopOnSignal } from '../process.ts'
import { Place } from '../proxy/place.ts'
import { recordGoals } from '../report/all-goals.ts'
import { thisMachine } from '../report/machine.ts'
import type { Table } from '../report/table.ts'
import { makeCertificates } from './contenders.ts'
import { measureDistance } from './distance.ts'
import { measureBulk, measureHttp, type Setting } from './measures.ts'
import { pageText, tunnelGoals } from './page.ts'
import { measureSlow } from './slow.ts'

const groups = {
  http: measureHttp,
  bulk: measureBulk,
  slow: async (...given: Parameters<typeof measureSlow>) => [await measureSlow(...given)],
  distance: async (...given: Parameters<typeof measureDistance>) => [await measureDistance(...given)],
} satisfies Record<
  string,
  (setting: Setting, certificates: Awaited<ReturnType<typeof makeCertificates>>) => Promise<Table[]>
>

const { values } = commandLine(import.meta.url, {
  options: {
    only: { type: 'string', default: Object.keys(groups).join() },
    rounds: { type: 'string', default: '7' },
    /** Seconds of load per measurement. */
    seconds: { type: 'string', default: '2' },
    connections: { type: 'string', default: '64' },
    /** Requests per second for the latency. */
    rate: { type: 'string', default: '2000' },
    port: { type: 'string', default: '18080' },
    /** Only these pairs: names as in the tables, separated by semicolons. */
    among: { type: 'string' },
    /** Prints the page, and does not write it. */
    dry: { type: 'boolean', default: false },
  },
})
enterNamespace()
const loadBefore = loadavg()[0] ?? 0
const place = new Place(Number(values.port))
stopOnSignal(() => place.remove())
const setting: Setting = {
  place,
  rounds: Number(values.rounds),
  seconds: Number(values.seconds),
  connections: Number(values.connections),
  rate: Number(values.rate),
  among: values.among?.split(';').map(name => name.trim()),
}
const tables: Table[] = []
try {
  const certificates = await makeCertificates(place)
  for (const [name, measure] of Object.entries(groups)) {
    if (!values.only.split(',').includes(name)) continue
    console.log(`${name} …`)
    tables.push(...(await measure(setting, certificates)))
    await stopAll()
  }
} finally {
  await stopAll()
  place.remove()
}
const text = pageText({ tables, machine: thisMachine(), loadBefore, at: new Date(), ...setting })
console.log(text)
if (!values.dry) {
  writeFileSync(new URL('../results/tunnel/README.md', import.meta.url), text)
  const page = 'tunnel/README.md'
  recordGoals({ title: 'Tunnels', command: 'npm run bench:tunnel', page, rows: tunnelGoals(tables) })
}
process.exit(0)
