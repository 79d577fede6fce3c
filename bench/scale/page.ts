/** The page of bench/scale.ts: a table of sizes, the plot, and what meets the aims. */
import type { Judged } from '../report/all-goals.ts'
import { type Machine, machineText } from '../report/machine.ts'
import type { Mesh } from './mesh.ts'
import type { Figures } from './reader.ts'

export interface Row {
  readonly mesh: Mesh
  readonly synced: Figures & { readonly ms: number; readonly readyMs: number; readonly cpuMs: number }
  readonly changes: number
  /** Under churn. */
  readonly figures: Figures
}

export interface Setting {
  readonly clusters: number
  readonly spread: number
  readonly perSecond: number
  readonly seconds: number
  readonly machine: Machine
}

/** CPU of JavaScript's thread for a change, in microseconds. */
export function costOf({ figures, changes }: Row): number {
  return (1000 * figures.threadCpuMs) / changes
}

const maxPauseMs = 20
/** The costs of the smallest and the largest mesh may differ by so much and be called flat. */
const flat = 1.3

export function page(rows: readonly Row[], { clusters, spread, perSecond, seconds, machine }: Setting): string {
  const table = (head: string, cells: (row: Row) => readonly string[]) => {
    const columns = head.split('|').slice(1, -1).length
    return `${head}\n|${' --: |'.repeat(columns)}\n${rows.map(row => `| ${cells(row).join(' | ')} |`).join('\n')}`
  }
  const number = (value: number) => value.toLocaleString('en')
  const sizes = ({ mesh }: Row) => [number(mesh.services), number(mesh.endpoints)]
  return `# Scale

Made by \`npm run bench:scale\`; not edited by hand. ${clusters} clusters in one etcd, written in Cilium's format by one process that simulates
their publishers; each service is in ${Math.min(spread, clusters)} clusters. The reader is the whole of Starlane with default options and plugins, but without active checks,
since nothing is at the endpoints' addresses, and with the executable's flags of V8. All processes share the machine.

${machineText(machine)}

## Until everything is known

${table('| services | endpoints | all clusters live, s | CPU, s | resident, MiB | longest pause, ms |', row => [
  ...sizes(row),
  (row.synced.ms / 1000).toFixed(1),
  (row.synced.cpuMs / 1000).toFixed(1),
  row.synced.rssMiB.toFixed(0),
  row.synced.pauseMs.toFixed(0),
])}

## Under churn

${perSecond} changes a second for ${seconds} s, evenly over all services and clusters; each gives one endpoint of a service another address.

${table(
  '| services | endpoints | change to directory, p50 ms | p99 ms | CPU of a change, µs | longest pause, ms | pauses over 20 ms | longest collection, ms | resident, MiB |',
  row => [
    ...sizes(row),
    at(row.figures.delays, 0.5),
    at(row.figures.delays, 0.99),
    costOf(row).toFixed(0),
    row.figures.pauseMs.toFixed(1),
    String(row.figures.longPauses),
    row.figures.collectionMs.toFixed(1),
    row.figures.rssMiB.toFixed(0),
  ],
)}

![CPU of a change by the size of the mesh](cost.svg)

The time of a change is from etcd's answer to its writer until the backend is in the directory, where a plugin sees it. CPU is that of
JavaScript's thread. A pause is what that thread works between two turns of the event loop, in its own CPU time, so that other
processes on the machine do not count; the longest collection is a part of it, by the wall clock.

## Verdicts

| goal | aim | measured | met |
|---|---|---|---|
${scaleGoals(rows, { perSecond })
  .map(({ what, aim, measured, met }) => `| ${what} | ${aim} | ${measured} | ${yes(met)} |`)
  .join('\n')}
`
}

/** The goals, in words, by the largest mesh that was measured. */
export function scaleGoals(rows: readonly Row[], { perSecond }: Pick<Setting, 'perSecond'>): Judged[] {
  const [first, last] = [rows[0], rows.at(-1)]
  if (!first || !last) return []
  const { figures, synced, mesh } = last
  const growth = costOf(last) / costOf(first)
  const times = (mesh.services / first.mesh.services).toFixed(0)
  const endpoints = mesh.endpoints.toLocaleString('en')
  const p99 = at(figures.delays, 0.99)
  const pause = (what: string, ms: number) => ({
    ...{ what: `longest pause ${what}, with ${endpoints} endpoints`, aim: `at most ${maxPauseMs} ms` },
    ...{ measured: `${ms.toFixed(1)} ms`, met: ms <= maxPauseMs },
  })
  return [
    pause('while changes come', figures.pauseMs),
    pause('until everything is known', synced.pauseMs),
    {
      ...{ what: `cost of a change in a mesh ${times} times as large`, aim: `at most ${flat} times` },
      ...{ measured: `${growth.toFixed(2)} times`, met: growth <= flat },
    },
    {
      ...{
        what: `${perSecond.toLocaleString('en')} changes a second: change to directory, p99`,
        aim: 'below 1,000 ms',
      },
      measured: `${p99} ms, ${figures.missing} samples missing`,
      met: figures.missing === 0 && Number(p99) < 1000,
    },
  ]
}

function at(sorted: readonly number[], share: number): string {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]?.toFixed(1) ?? '?'
}

function yes(isMet: boolean): string {
  return isMet ? 'yes' : '**no**'
}
