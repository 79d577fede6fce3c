/** Renders results as a page in Markdown. */
import type { Goal } from './goals.ts'
import { versionsText } from './machine.ts'
import { median, type Spread, spread, spreadText } from './stats.ts'
import { type Column, type Group, type Row, ratio, type Table, valuesOf } from './table.ts'
import { outcome, type Verdict } from './verdicts.ts'

export function page(groups: readonly Group[], verdicts: readonly Verdict[], dns?: Group): string {
  return `# Proxy benchmark

Written by \`npm run bench\`. Load generator, proxy and backends run on one machine over loopback. Each figure is the median
over rounds, which alternate between the contenders in forward and reverse order; ratios are medians of the quotients within
a round. Small requests and decisions have a round before that is not counted. HAProxy runs one thread and nginx one worker,
both with default buffers. Compare figures within one table only: they vary between runs, most of all on a shared machine, and
a difference of less than 10 % is noise.

CPU is user and system time of the contender's own processes, from /proc. "alone" is an engine without the rest of the
product; "starlane" is the whole product with manifests, health checks, the default plugins and metrics. "bare relay" is what the
system calls alone cost: a relay in C that does nothing else (bench/load/relay.c).

## Goals

Each value is a ratio to the better of the named peers, or a figure with its unit: median (lowest to highest round).

${goalsText(verdicts)}

[docs/engines.md](../../docs/engines.md) has the figures for a second native thread.

${groups.map(groupText).join('\n')}${dns ? dnsText(dns) : ''}`
}

/** The plot only: the tables have a page of their own. */
function dnsText({ title, name }: Group): string {
  return `\n## ${title}\n\n![${title}](proxy/${name}.svg)\n\nMeasured by \`npm run bench:dns\`; the tables are in [dns.md](dns.md).\n`
}

function goalsText(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(verdict => [
    verdict.goal.what,
    `${verdict.goal.limit}${verdict.goal.unit}`,
    cellOf(verdict.engine, verdict.goal),
    cellOf(verdict.product, verdict.goal),
    outcome(verdict),
    verdict.goal.bound,
  ])
  return markdown(['goal', 'at most', 'engine', 'whole product', 'result', 'what limits it'], rows, 'lrrrll')
}

function cellOf(measured: Spread | undefined, { digits = 2 }: Goal): string {
  return measured ? spreadText(measured, digits) : ''
}

function groupText({ name, title, at, machine, loadBefore, rounds, seconds, tables }: Group): string {
  return `## ${title}

![${title}](proxy/${name}.svg)

${at.slice(0, 16).replace('T', ' ')} UTC, ${rounds} rounds of ${seconds} s, load average before it ${loadBefore.toFixed(1)}. ${versionsText(machine)}

${tables.map(tableText).join('\n')}`
}

export function tableText(table: Table): string {
  const [main, ...others] = table.columns
  const peers = table.peers.filter(peer => valuesOf(table, peer).length > 0)
  const head = ['', main.title, 'spread', ...peers.map(peer => `x ${peer}`), ...others.map(({ title }) => title)]
  const lines = table.rows.map(row => {
    if (row.note !== undefined) return [row.name, oneLine(row.note)]
    const rounds = spread(valuesOf(table, row.name))
    return [
      row.name,
      cell(row, main),
      rounds ? `${rounds.low.toFixed(main.digits)}-${rounds.high.toFixed(main.digits)}` : '',
      ...peers.map(peer => ratio(table, row.name, peer)?.median.toFixed(2) ?? ''),
      ...others.map(column => cell(row, column)),
    ]
  })
  return `### ${table.title}\n\n${table.how}\n\n${markdown(head, lines, `l${'r'.repeat(head.length - 1)}`)}`
}

function oneLine(note: string): string {
  return note
    .trim()
    .replaceAll(/\s*\n\s*/g, '; ')
    .replaceAll('|', '/')
    .slice(0, 300)
}

function cell({ samples }: Row, { key, digits, sum }: Column): string {
  const values = samples.flatMap(sample => sample[key] ?? [])
  if (values.length === 0) return ''
  return (sum ? values.reduce((a, b) => a + b) : (median(values) ?? Number.NaN)).toFixed(digits)
}

/** `align` has a letter per column: l or r. */
function markdown(head: readonly string[], rows: readonly (readonly string[])[], align: string): string {
  const rule = head.map((_, i) => (align[i] === 'r' ? '--:' : '---'))
  const line = (cells: readonly string[]) => `| ${head.map((_, i) => cells[i] ?? '').join(' | ')} |`
  return `${[head, rule, ...rows].map(line).join('\n')}\n`
}
