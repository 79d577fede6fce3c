/** What was measured, as text for people. */
import { type Machine, machineText } from './machine.ts'

export interface Measured {
  /** Undefined where there is no proxy. */
  readonly cpuUs: number | undefined
  readonly perSecond: number
  readonly p99Ms: number
  readonly failed: number
}

export interface Row {
  readonly name: string
  readonly rounds: readonly Measured[]
  /** Why there are no rounds. */
  readonly note?: string
}

export interface Table {
  readonly title: string
  readonly rows: readonly Row[]
}

export interface Run {
  readonly at: string
  readonly machine: Machine
  /** The machine's load average before anything was started: what others did beside it. */
  readonly loadBefore: number
  readonly rounds: number
  readonly seconds: number
  readonly connections: number
  readonly tables: readonly Table[]
}

export function page(run: Run): string {
  const { machine } = run
  return `# Proxy benchmark

${run.at}, written by \`npm run bench\`. Medians of ${run.rounds} alternating rounds of ${run.seconds} s, ${run.connections} connections (8 for 1 MiB).
Load, proxy and backends share one machine over loopback; HAProxy runs one thread, nginx one worker, both with their
default buffers. Compare within a table only: between runs everything moves, most of all on a machine that others use.

${machineText(machine)}
- Load average before the run: ${run.loadBefore.toFixed(1)}
- HAProxy ${machine.haproxy}, nginx ${machine.nginx}, wrk ${machine.wrk}

CPU is user and system time of the proxy's processes per request, from /proc; the spread is the lowest and highest round.

${run.tables.map(tableText).join('\n')}`
}

export function tableText({ title, rows }: Table): string {
  const peer = (name: string) => median(rows.find(row => row.name === name)?.rounds.map(r => r.cpuUs) ?? [])
  const [haproxy, nginx] = [peer('haproxy'), peer('nginx')]
  const lines = rows.map(({ name, rounds, note }) => {
    if (note !== undefined) return [name, note.split('\n')[0] ?? '', '', '', '', '', '', '']
    const cpu = median(rounds.map(r => r.cpuUs))
    const spread = rounds.flatMap(r => r.cpuUs ?? [])
    return [
      name,
      cpu?.toFixed(1) ?? '',
      spread.length > 0 ? `${Math.min(...spread).toFixed(1)}-${Math.max(...spread).toFixed(1)}` : '',
      ratio(cpu, haproxy),
      ratio(cpu, nginx),
      median(rounds.map(r => r.perSecond))?.toFixed(0) ?? '',
      median(rounds.map(r => r.p99Ms))?.toFixed(1) ?? '',
      String(rounds.reduce((sum, r) => sum + r.failed, 0)),
    ]
  })
  const head = ['', 'CPU us/request', 'spread', 'x HAProxy', 'x nginx', 'requests/s', 'p99 ms', 'failed']
  return `## ${title}\n\n${[head, head.map((_, i) => (i === 0 ? '---' : '--:')), ...lines].map(row).join('\n')}\n`
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

function ratio(value: number | undefined, base: number | undefined): string {
  return value !== undefined && base ? (value / base).toFixed(2) : ''
}

function median(values: readonly (number | undefined)[]): number | undefined {
  const sorted = values.filter(value => value !== undefined).sort((a, b) => a - b)
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return low === undefined || high === undefined ? undefined : (low + high) / 2
}
