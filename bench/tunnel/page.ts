/** The results as a page in Markdown, with what was aimed at. */
import { loadavg } from 'node:os'
import type { Judged } from '../report/all-goals.ts'
import { type Machine, machineText } from '../report/machine.ts'
import { tableText } from '../report/report.ts'
import { type Spread, spreadText } from '../report/stats.ts'
import { ratio, type Table } from '../report/table.ts'
import { peer } from './contenders.ts'
import { byDefault } from './distance.ts'

export interface Results {
  readonly tables: readonly Table[]
  readonly machine: Machine
  readonly loadBefore: number
  readonly at: Date
  readonly rounds: number
  readonly seconds: number
}

interface Aim {
  readonly what: string
  readonly table: string
  readonly column: string
  readonly against: string
  readonly limit: number
  readonly better: 'less' | 'more'
}

const aims: readonly Aim[] = [
  { what: 'CPU per request', table: 'keep-alive', column: 'cpuUs', against: peer, limit: 1.2, better: 'less' },
  { what: 'CPU per connection', table: 'close', column: 'cpuUs', against: peer, limit: 1.5, better: 'less' },
  { what: 'Bulk download', table: 'download', column: 'gbits', against: peer, limit: 0.8, better: 'more' },
  { what: 'Bulk upload', table: 'upload', column: 'gbits', against: peer, limit: 0.8, better: 'more' },
  {
    what: 'One stream over 100 ms',
    table: 'distance',
    column: 'megabytes',
    against: byDefault,
    limit: 10,
    better: 'more',
  },
]

const engines = ['native', 'streams']

export function pageText({ tables, machine, loadBefore, at, rounds, seconds }: Results): string {
  return `# Tunnels, measured

Written by \`npm run bench:tunnel\` (bench/tunnel/run.ts). A client, a proxy, a gateway and the backends run on one machine over loopback. *starlane, tunnel* is two
processes: the whole product with its default plugins, health checks and metrics in one cluster, and the gateway of the other; with *native* both ends
of the tunnel are in pumps, with *streams* both are node:http2. *To a ztunnel*: the near side is Starlane's with its pump, and an unmodified
ztunnel with one worker thread stands in the place of the gateway.
*haproxy* is two processes too, with one thread each, TCP mode, TLS 1.3 with a certificate of each side between them, and sessions that are resumed. CPU is that of
both processes. Each figure is the median over ${rounds} rounds of ${seconds} s, which alternate between the contenders; ratios are medians of the quotients
within a round.

- ${at.toISOString().slice(0, 16).replace('T', ' ')} UTC, load average before it ${loadBefore.toFixed(1)}, after it ${(loadavg()[0] ?? 0).toFixed(1)}
${machineText(machine)}
- HAProxy ${machine.haproxy}, nginx ${machine.nginx}, wrk ${machine.wrk}, iperf3 ${machine.iperf3}

## Aims

Ratios to ${peer}, or to ${byDefault}; median (lowest to highest round).

| | aim | ${engines.map(engine => `tunnel, ${engine}`).join(' | ')} |
|---|---|---|---|
${aims.map(aim => aimText(aim, tables)).join('\n')}

${tables.map(tableText).join('\n')}`
}

/** Each goal for each engine, for the page of all benchmarks. */
export function tunnelGoals(tables: readonly Table[]): Judged[] {
  return aims.flatMap(({ what, table, column, against, limit, better }) =>
    engines.flatMap(engine => {
      const found = measuredOf(engine, { table, column, against }, tables)
      if (!found) return []
      const aim = `${better === 'less' ? 'at most' : 'at least'} ${limit}x`
      const to = against === peer ? 'HAProxy with TLS on both hops' : against
      return [
        { what: `${what}, ${engine}, to ${to}`, aim, measured: spreadText(found, 2), met: isMet(found, limit, better) },
      ]
    }),
  )
}

function aimText({ what, table, column, against, limit, better }: Aim, tables: readonly Table[]): string {
  const cells = engines.map(engine => {
    const found = measuredOf(engine, { table, column, against }, tables)
    return found ? `${spreadText(found, 2)}: ${isMet(found, limit, better) ? 'met' : 'missed'}` : 'not measured'
  })
  return `| ${what} | ${better === 'less' ? 'at most' : 'at least'} ${limit} | ${cells.join(' | ')} |`
}

function measuredOf(
  engine: string,
  { table: wanted, column, against }: Pick<Aim, 'table' | 'column' | 'against'>,
  tables: readonly Table[],
): Spread | undefined {
  const table = tables.find(({ key }) => key === wanted)
  const columns = table?.columns.find(({ key }) => key === column)
  return table && ratio(table, `starlane, tunnel, ${engine}`, against, columns)
}

function isMet({ median }: Spread, limit: number, better: Aim['better']): boolean {
  return better === 'less' ? median <= limit : median >= limit
}
