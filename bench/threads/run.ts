/**
 * Benchmark of several pumps (`proxy.threads`): cost per unit of work, fairness between pumps and losses with 1, 2, 4 … of them, and a model of
 * machines with other numbers of cores, beside what this one does.
 *
 *     npm run bench:threads                         some minutes; writes bench/results/threads/README.md
 *     npm run bench:threads -- --dry --rounds=3     prints it
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import { commandLine } from '../../scripts/command-line.ts'
import { enterNamespace } from '../namespace.ts'
import { stopAll, stopOnSignal } from '../process.ts'
import { Place } from '../proxy/place.ts'
import { thisMachine } from '../report/machine.ts'
import type { Table } from '../report/table.ts'
import { measureBulk, measureDatagrams, measureHttp, type Setting } from './measures.ts'
import { pageText } from './page.ts'

const { values } = commandLine(import.meta.url, {
  options: {
    rounds: { type: 'string', default: '5' },
    /** Seconds of load per measurement. */
    seconds: { type: 'string', default: '2' },
    connections: { type: 'string', default: '64' },
    /** Pumps to compare; by default 1, 2, 4 and so on to the number of cores. */
    pumps: { type: 'string' },
    port: { type: 'string', default: '18080' },
    /** Prints the page, and does not write it. */
    dry: { type: 'boolean', default: false },
  },
})
enterNamespace()
const loadBefore = loadavg()[0] ?? 0
const cores = availableParallelism()
const powers = [1, 2, 4, 8, 16, 32, 64].filter(count => count <= Math.max(cores, 4))
const place = new Place(Number(values.port))
stopOnSignal(() => place.remove())
const setting: Setting = {
  place,
  pumps: values.pumps?.split(',').map(Number) ?? powers,
  cores,
  rounds: Number(values.rounds),
  seconds: Number(values.seconds),
  connections: Number(values.connections),
}
const tables: Table[] = []
try {
  tables.push(...(await measureHttp(setting)))
  await stopAll()
  tables.push(await measureBulk(setting))
  await stopAll()
  tables.push(await measureDatagrams(setting))
} finally {
  await stopAll()
  place.remove()
}
const text = pageText({ tables, machine: thisMachine(), loadBefore, at: new Date(), ...setting })
console.log(text)
if (!values.dry) {
  mkdirSync(new URL('../results/threads/', import.meta.url), { recursive: true })
  writeFileSync(new URL('../results/threads/README.md', import.meta.url), text)
}
process.exit(0)
