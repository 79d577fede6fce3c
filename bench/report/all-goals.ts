/**
 * The goals of all benchmarks on one page, bench/results/README.md. Each benchmark records its own rows in goals.json when it writes its
 * page; the rows of the others stay as they were measured.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { type Machine, thisMachine } from './machine.ts'
import { spread, spreadText } from './stats.ts'
import type { Group } from './table.ts'
import { judge, type Verdict } from './verdicts.ts'

export interface Judged {
  readonly what: string
  /** With its unit: `at most 0.85x`. */
  readonly aim: string
  readonly measured: string
  readonly met: boolean
}

export interface Record {
  readonly title: string
  /** What measures these rows again. */
  readonly command: string
  /** The page with the whole result, relative to bench/results. */
  readonly page: string
  readonly at: string
  readonly machine: string
  readonly rows: readonly Judged[]
}

const results = new URL('../results/', import.meta.url)

/** Puts a record of now in the place of the one with the same command, and writes the page. */
export function recordGoals(record: Omit<Record, 'at' | 'machine'>, folder = results): void {
  put({ ...record, at: new Date().toISOString(), machine: shortText(thisMachine()) }, folder)
}

/** The same for a group that was measured before, perhaps on another machine. Nothing where it has no goals. */
export function recordGroup(group: Group, page: string, command: string, folder = results): void {
  const { title, at, machine } = group
  const rows = judged(group, judge([group]))
  if (rows.length > 0) put({ title, command, page, at, machine: shortText(machine), rows }, folder)
}

function put(record: Record, folder: URL): void {
  const file = new URL('goals.json', folder)
  const known: readonly Record[] = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : []
  const others = known.filter(({ command }) => command !== record.command)
  const all = [...others, record].sort((a, b) => a.page.localeCompare(b.page) || a.command.localeCompare(b.command))
  mkdirSync(folder, { recursive: true })
  writeFileSync(file, `${JSON.stringify(all, undefined, 1)}\n`)
  writeFileSync(new URL('README.md', folder), goalsPage(all))
}

function shortText({ cpu, cores }: Machine): string {
  return `${cpu}, ${cores} cores`
}

/** The rows of a measured group among the verdicts. The whole product is judged where it was measured, else the engine. */
function judged({ tables }: Group, verdicts: readonly Verdict[]): Judged[] {
  return verdicts.flatMap(({ goal, engine, product }) => {
    const found = product ?? engine
    if (!found || !tables.some(({ key }) => key === goal.table)) return []
    return [
      {
        what: goal.what,
        aim: `at most ${goal.limit}${goal.unit}`,
        measured: spreadText(found, goal.digits ?? 2),
        met: found.median <= goal.limit,
      },
    ]
  })
}

/** Whether the median of the values is within the limit, as a row. */
export function atMost(what: string, values: readonly number[], limit: number, unit: string, digits = 0): Judged[] {
  const found = spread(values)
  if (!found) return []
  const measured = `${spreadText(found, digits)}${unit}`
  return [{ what, aim: `at most ${limit}${unit}`, measured, met: found.median <= limit }]
}

function goalsPage(all: readonly Record[]): string {
  const rows = all.flatMap(({ rows }) => rows)
  return `# Goals and what was measured

Written by the benchmarks themselves; not edited by hand. ${rows.filter(({ met }) => met).length} of ${rows.length} goals are met. A value is a median, with the lowest and the highest
round where there are several; a ratio is that of two contenders within one round. The command of a part measures it again, and its page
has the whole result, with the machine and the versions.

${all.map(partText).join('\n')}`
}

function partText({ title, command, page, at, machine, rows }: Record): string {
  const lines = rows.map(
    ({ what, aim, measured, met }) => `| ${what} | ${aim} | ${measured} | ${met ? 'yes' : '**no**'} |`,
  )
  return `## ${title}

\`${command}\`, ${at.slice(0, 16).replace('T', ' ')} UTC, ${machine}: [the page](${page}).

| goal | aim | measured | met |
|---|--:|--:|---|
${lines.join('\n')}
`
}
