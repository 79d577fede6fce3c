/**
 * Faults under load, as a table; the results are written to bench/results/faults.md.
 *
 *     npm run faults                                  everything, both engines; half an hour. Names the commit and the machine
 *     npm run faults -- --restarts=6 --engine=native  a part
 *     npm run faults -- --only=restarts
 *     npm run faults -- --only=faults --name=cgroup --dry
 *
 * Runs in a network namespace of its own where it may. Exits with 1 when something was lost that must not be.
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { enterNamespace } from '../../bench/namespace.ts'
import { commandLine } from '../../scripts/command-line.ts'
import { failures, tallyText } from '../../scripts/faults/load.ts'
import { restarts } from '../../scripts/faults/restarts.ts'
import { silence } from '../../scripts/faults/silence.ts'
import type { Engine } from '../../scripts/faults/stage.ts'
import { faults } from './faults.ts'

const { values } = commandLine(import.meta.url, {
  options: {
    engine: { type: 'string', default: 'native,streams' },
    restarts: { type: 'string', default: '100' },
    perSecond: { type: 'string', default: '1000' },
    only: { type: 'string', default: 'restarts,silence,faults' },
    /** Of the faults, only those whose name has this in it. */
    name: { type: 'string', default: '' },
    /** Does not write the results. */
    dry: { type: 'boolean', default: false },
  },
})

enterNamespace()
const load = () => loadavg()[0]?.toFixed(1)
const loadBefore = load()
const said = (text: string) => console.log(text)
const engines = values.engine.split(',') as Engine[]
const only = new Set(values.only.split(','))
const parts: string[] = []
let lost = false
/** Connections and questions for which this machine had no time. */
let unasked = 0

if (only.has('restarts')) parts.push(await restartsPart())
if (only.has('silence')) parts.push(await silencePart())
if (only.has('faults')) parts.push(await faultsPart())
const text = [head(), ...parts].join('\n')
console.log(text)
if (!values.dry) writeFileSync(new URL('../../bench/results/faults.md', import.meta.url), text)
process.exit(lost ? 1 : 0)

function head(): string {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  const { model = 'unknown' } = cpus()[0] ?? {}
  const machine = `${model}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}`
  return `# Faults under load

Written by \`npm run faults\` at ${commit}, on ${machine}. Clients, backends and Starlane share the machine,
whose load average was ${loadBefore} before the run and ${load()} after it. What the runs do is in \`test/faults\` and \`scripts/faults\`.
`
}

async function restartsPart(): Promise<string> {
  const rows: string[] = []
  for (const engine of engines) {
    const count = Number(values.restarts)
    const result = await restarts({ engine, restarts: count, perSecond: Number(values.perSecond), said })
    for (const tally of result.tallies) {
      said(tallyText(tally))
      const bad = failures(tally)
      lost ||= bad > 0
      unasked += tally.unasked
      rows.push(
        `| ${engine} | ${tally.kind} | ${tally.asked} | ${tally.answered} | ${bad === 0 ? 0 : JSON.stringify(tally.failed)} | ${Math.round(tally.slowest)} |`,
      )
    }
    const { cut, leftSockets, leftProcesses } = result
    const ended = result.codes.every(code => code === 0)
    lost ||= cut + leftProcesses > 0 || leftSockets > 0 || !ended
    rows.push(
      `| ${engine} | ${count} restarts | | | ${cut} cut, ${leftSockets} sockets and ${leftProcesses} processes left, exit codes ${ended ? 'all 0' : result.codes.join()} | start to serving: ${spread(result.takeoverMs)}; of that the handover: ${spread(result.handoverMs)} |`,
    )
  }
  return `## Restarts

Each process takes over from the one before it; every second one is another version with another configuration. \`proxy.drain\` is 5 s.
Long-lived connections end by themselves within 3 s, so none has to be cut. A process that starts has to share the processors with the load; until
it asks for the sockets no client waits for it. ${unasked} of all were not asked in time, since this machine could not keep up.

| engine | load | asked | answered | failed | slowest, ms |
|---|---|---:|---:|---|---:|
${rows.join('\n')}
`
}

function spread(ms: readonly number[]): string {
  const sorted = ms.toSorted((a, b) => a - b)
  return `median ${Math.round(sorted[sorted.length >> 1] ?? 0)}, longest ${Math.round(sorted.at(-1) ?? 0)}`
}

async function silencePart(): Promise<string> {
  const rows: string[] = []
  for (const engine of engines) {
    const result = await silence({ engine, perSecond: Number(values.perSecond), said })
    if (result === undefined) return '## A cluster goes silent\n\nNot run: it needs root, nft and ip.\n'
    lost ||= result.failedAfter !== '0'
    const starved = result.starved > 0 ? `${result.starved} failed while this machine had no processor for them` : ''
    rows.push(
      `| ${engine} | ${result.asked} | ${result.failedInProgress} | ${result.failedBefore} | ${result.failedAfter} | ${result.slowestMs} | ${result.heldResetMs ?? 'not'} | ${result.healMs} | ${starved} |`,
    )
  }
  return `## A cluster goes silent

Half of the backends are in another network; nft drops every packet to and from it, under ${values.perSecond} connections a second. A request
that has gone to one of them in that moment has no answer, as those of established connections, which are reset.

| engine | connections | failed, in progress | begun in the first 2 s | begun later | slowest, ms | established ones reset after, ms | heal, ms | |
|---|---:|---:|---:|---:|---:|---:|---:|---|
${rows.join('\n')}
`
}

async function faultsPart(): Promise<string> {
  const rows: string[] = []
  for (const engine of engines) {
    for (const { fault, load, failed, detectMs, healMs, note } of await faults({ engine, said, name: values.name })) {
      rows.push(`| ${engine} | ${fault} | ${load} | ${failed} | ${detectMs ?? ''} | ${healMs ?? ''} | ${note ?? ''} |`)
    }
  }
  return `## Other faults

200 connections a second to three backends. Time to detect: from the fault until \`status\` shows it. Time to heal: from the end of the
fault until it shows that. Both are empty where it shows nothing: what is measured then is what clients notice.

What fails, fails for one of two reasons. A connection that a backend resets after it was made is lost to its client, whatever a proxy does: those
in progress with a backend or a Starlane that ends, and the first few with a backend that resets all. And clients are refused while no
process has the sockets, or there is nothing left to serve them with; where a service manager has the sockets, they wait. Clients are of the
same machine: EADDRNOTAVAIL is theirs.

| engine | fault | connections | failed | detect, ms | heal, ms | |
|---|---|---:|---:|---:|---:|---|
${rows.join('\n')}
`
}
