/**
 * Benchmark of the proxy: Starlane, a direct connection, HAProxy and nginx stream in one run, in alternating rounds.
 *
 *     npm run bench                                    all groups, about a quarter of an hour
 *     npm run bench -- --only=udp,idle --rounds=3      some groups; keeps the stored results of the others
 *     npm run bench -- --report                        measures nothing, writes the pages from the stored results
 *
 * The main figure is CPU time of the proxy's processes per unit of work; compare it within one table only. Writes
 * bench/results/proxy.json, proxy.md and a plot for each group.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { pathToFileURL } from 'node:url'
import { commandLine } from '../scripts/command-line.ts'
import { enterNamespace } from './namespace.ts'
import { stopAll, stopOnSignal } from './process.ts'
import { bulk } from './proxy/bulk.ts'
import { datagrams } from './proxy/datagrams.ts'
import { exchanges } from './proxy/exchanges.ts'
import { fairness } from './proxy/fairness.ts'
import { idle } from './proxy/idle.ts'
import { latency } from './proxy/latency.ts'
import { nativeDecision } from './proxy/native-decision-load.ts'
import { Place } from './proxy/place.ts'
import type { Plan, Setting } from './proxy/plan.ts'
import { requests } from './proxy/requests.ts'
import { scale } from './proxy/scale.ts'
import { recordGroup } from './report/all-goals.ts'
import { readDns } from './report/dns-results.ts'
import { thisMachine } from './report/machine.ts'
import { plot } from './report/plot.ts'
import { page, tableText } from './report/report.ts'
import type { Group } from './report/table.ts'
import { judge } from './report/verdicts.ts'

const plans: readonly Plan[] = [requests, bulk, exchanges, latency, fairness, datagrams, idle, nativeDecision, scale]

const { values } = commandLine(import.meta.url, {
  options: {
    only: { type: 'string', default: plans.map(({ name }) => name).join() },
    report: { type: 'boolean', default: false },
    /** How often each contender is measured; the tables show medians. */
    rounds: { type: 'string', default: '5' },
    /** Seconds of load per measurement. */
    seconds: { type: 'string', default: '2' },
    connections: { type: 'string', default: '64' },
    /** First of about a hundred ports; choose one below net.ipv4.ip_local_port_range. */
    port: { type: 'string', default: '18080' },
    /** Only these contenders: names as in the tables, separated by semicolons. */
    among: { type: 'string' },
    /** Folder of the results. */
    results: { type: 'string', default: new URL('results/', import.meta.url).pathname },
  },
})
const rounds = positive('rounds')
const seconds = positive('seconds')
const connections = positive('connections')
const port = positive('port')
const among = values.among?.split(';').map(name => name.trim())
const wanted = values.only.split(',').map(planOf)

if (!values.report) enterNamespace()
const groups = readGroups()
if (!values.report) await measureAll()
else save()

async function measureAll(): Promise<void> {
  const place = new Place(port)
  stopOnSignal(() => place.remove())
  try {
    for (const plan of wanted) await measure(plan, { place, rounds, seconds, connections, among })
  } finally {
    place.remove()
  }
}

/** Prints why a group cannot run, and does not throw. */
async function measure(plan: Plan, setting: Setting): Promise<void> {
  const { name, title } = plan
  const lack = plan.lacks()
  if (lack) return console.log(`${title}: left out, ${lack}`)
  console.log(`${title} …`)
  const begun = performance.now()
  const loadBefore = loadavg()[0] ?? 0
  const about = { name, title, at: new Date().toISOString(), machine: thisMachine(), loadBefore, rounds, seconds }
  try {
    const tables = await plan.run(setting)
    groups.set(name, { ...about, tables })
    console.log(`\n${tables.map(tableText).join('\n')}\n${title}: ${((performance.now() - begun) / 1000).toFixed(0)} s`)
    save()
  } catch (error) {
    console.log(`${title}: left out, ${error instanceof Error ? error.message : error}`)
  } finally {
    await stopAll()
  }
}

function planOf(name: string): Plan {
  const plan = plans.find(plan => plan.name === name)
  if (plan) return plan
  console.error(`--only=${name}: no such group; use one of ${plans.map(plan => plan.name).join(', ')}`)
  process.exit(2)
}

function positive(name: 'rounds' | 'seconds' | 'connections' | 'port'): number {
  const number = Number(values[name])
  if (Number.isInteger(number) && number > 0) return number
  console.error(`--${name}=${values[name]} is not a positive whole number`)
  process.exit(2)
}

/** Stored results of earlier runs by group name. */
function readGroups(): Map<string, Group> {
  const file = `${values.results}/proxy.json`
  const known: { groups?: readonly Group[] } = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {}
  return new Map((known.groups ?? []).map(group => [group.name, group]))
}

/** Called after each group, so that an interrupted run keeps what it has measured. */
function save(): void {
  const folder = values.results
  const measured = plans.flatMap(({ name }) => groups.get(name) ?? [])
  const dns = readDns(`${folder}/dns.json`)
  const all = dns ? [...measured, dns] : measured
  mkdirSync(`${folder}/proxy`, { recursive: true })
  writeFileSync(`${folder}/proxy.json`, `${JSON.stringify({ groups: measured }, undefined, 1)}\n`)
  writeFileSync(`${folder}/proxy.md`, page(measured, judge(all), dns))
  for (const group of all) writeFileSync(`${folder}/proxy/${group.name}.svg`, plot(group))
  for (const group of measured)
    recordGroup(group, 'proxy.md', `npm run bench -- --only=${group.name}`, pathToFileURL(`${folder}/`))
}
