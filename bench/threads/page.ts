/** The measurements and the model as a page in Markdown. */
import { loadavg } from 'node:os'
import { type Machine, machineText } from '../report/machine.ts'
import { spread } from '../report/stats.ts'
import type { Row, Table } from '../report/table.ts'
import { alone, product } from './measures.ts'
import { type Costs, medianOf, predict, pumpsThatSaturate, sharedRate } from './model.ts'

export interface Results {
  readonly tables: readonly Table[]
  readonly machine: Machine
  readonly loadBefore: number
  readonly at: Date
  readonly pumps: readonly number[]
  readonly cores: number
  readonly rounds: number
  readonly seconds: number
}

export function pageText(results: Results): string {
  const { tables, machine, loadBefore, at, rounds, seconds, cores, pumps } = results
  const costs = costsOf(tables, 1)
  const more = pumps.includes(2) ? costsOf(tables, 2) : costs
  return `# Threads, measured

Written by \`npm run bench:threads\` (bench/threads/run.ts). *product* is all of Starlane with manifests, health checks, the default plugins and metrics, *engine* the
native engine alone; the number is that of its pumps (\`proxy.threads\`). Clients, backends and Starlane share one machine over loopback. Each figure is the median
over ${rounds} rounds of ${seconds} s, which alternate between the rows, with the lowest and the highest round where they tell something. *Of the machine* is what
everything on it used, clients and backends too, per unit. *Accepting* is what the first pump used more than the others on average.

- ${at.toISOString().slice(0, 16).replace('T', ' ')} UTC, load average before it ${loadBefore.toFixed(1)}, after it ${(loadavg()[0] ?? 0).toFixed(1)}
${machineText(machine)}
- nginx ${machine.nginx}, wrk ${machine.wrk}, iperf3 ${machine.iperf3}

${tables.map(tableText).join('\n')}
${lossText(tables)}

## Costs

| | with 1 pump | with 2 |
|---|--:|--:|
| JavaScript's thread per connection, product | ${micro(costs.decision)} | ${micro(more.decision)} |
| pumps per connection, product | ${micro(costs.pump)} | ${micro(more.pump)} |
| the first pump more than its share, per connection | | ${micro(more.accepting)} |
| pumps per keep-alive request | ${micro(costs.request)} | ${micro(more.request)} |
| keep-alive requests per second and core | ${(1 / costs.request).toFixed(0)} | ${(1 / more.request).toFixed(0)} |
| pumps per datagram there and back | ${micro(costs.roundTrip)} | ${micro(more.roundTrip)} |
| pumps per GiB | ${(costs.gibibyte * 1000).toFixed(0)} ms | ${(more.gibibyte * 1000).toFixed(0)} ms |

## Model

For a machine on which only Starlane runs, with \`proxy.threads: auto\` and with as many pumps as cores but one. With several pumps the costs are those measured
with two. A connection is limited by JavaScript's thread from ${pumpsThatSaturate(more)} pumps on. The formulas are in bench/threads/model.ts: a
frontend of UDP is carried by one pump, so datagrams need as many frontends as pumps; kernel, network card and memory are taken to have no limit of their own.

| cores | pumps | connections/s, product | limited by | keep-alive requests/s | Gbit/s | datagrams there and back/s |
|--:|--:|--:|---|--:|--:|--:|
${[1, 2, 4, 8, 16, 32, 64].flatMap(size => modelRows(size, costs, more)).join('\n')}

## Model and this machine

With clients and backends on the same cores the rate is what their number allows (cores divided by *of the machine* with one pump), or the limit
of the model if that is lower. Where the measured rate is lower with more pumps, that is what more threads than free cores cost.

| | pumps | model | measured | measured/model |
|---|--:|--:|--:|--:|
${[...checkRows(tables, 'close', 'connections/s', product, pumps, cores), ...checkRows(tables, 'keep-alive', 'requests/s', alone, pumps, cores), ...checkRows(tables, 'datagrams', 'datagrams there and back/s', product, pumps, cores)].join('\n')}
`
}

function costsOf(tables: readonly Table[], pumps: number): Costs {
  const of = (table: string, name: string, key: string) => medianOf(samplesOf(tables, table, name), key)
  return {
    decision: of('close', product(pumps), 'scriptUs') / 1e6,
    pump: of('close', product(pumps), 'pumpsUs') / 1e6,
    accepting: pumps > 1 ? Math.max(of('close', product(pumps), 'firstUs'), 0) / 1e6 : 0,
    request: of('keep-alive', product(pumps), 'pumpsUs') / 1e6,
    gibibyte: of('bulk', alone(pumps), 'pumpsMs') / 1e3,
    roundTrip: of('datagrams', product(pumps), 'pumpsUs') / 1e6,
  }
}

function samplesOf(tables: readonly Table[], table: string, name: string): Row['samples'] {
  return tables.find(({ key }) => key === table)?.rows.find(row => row.name === name)?.samples ?? []
}

/** `auto`, as in proxy/runtime/options.ts, and all cores but JavaScript's. */
function modelRows(cores: number, one: Costs, more: Costs): string[] {
  const auto = Math.min(Math.max(Math.floor(cores / 2), 1), 8)
  const counts = new Set([auto, Math.max(cores - 1, 1)])
  return [...counts].map(pumps => {
    const { connections, by, requests, gbits, roundTrips } = predict(pumps > 1 ? more : one, cores, pumps)
    const count = pumps === auto ? `${pumps} (auto)` : `${pumps}`
    return `| ${cores} | ${count} | ${rounded(connections)} | ${by} | ${rounded(requests)} | ${rounded(gbits)} | ${rounded(roundTrips)} |`
  })
}

function checkRows(
  tables: readonly Table[],
  key: string,
  unit: string,
  name: (pumps: number) => string,
  pumps: readonly number[],
  cores: number,
): string[] {
  const one = samplesOf(tables, key, name(1))
  return pumps.map(count => {
    const samples = samplesOf(tables, key, name(count))
    const limit = Math.min(1e6 / medianOf(one, 'scriptUs'), (count * 1e6) / medianOf(one, 'pumpsUs'))
    const model = sharedRate(medianOf(one, 'allUs') / 1e6, cores, limit)
    const measured = medianOf(samples, 'perSecond')
    return `| ${unit}, ${name(count).replace(/, \d+/, '')} | ${count} | ${rounded(model)} | ${rounded(measured)} | ${(measured / model).toFixed(2)} |`
  })
}

function lossText(tables: readonly Table[]): string {
  const samples = tables.flatMap(({ rows }) => rows.flatMap(({ samples }) => samples))
  const failed = samples.reduce((sum, { failed = 0 }) => sum + failed, 0)
  return `Of all connections, requests and datagrams of these rounds ${failed} failed.`
}

function tableText({ title, how, columns, rows }: Table): string {
  const head = `|  | ${columns.map(({ title }) => title).join(' | ')} |\n|---|${'--:|'.repeat(columns.length)}`
  const lines = rows.map(({ name, samples, note }) => {
    if (note !== undefined) return `| ${name} | ${note} ${'| '.repeat(columns.length)}|`
    const cells = columns.map(({ key, digits, sum }) => {
      const values = samples.flatMap(sample => sample[key] ?? [])
      if (sum) return `${values.reduce((all, each) => all + each, 0)}`
      const found = spread(values)
      if (!found) return ''
      const range = key === 'pumpsUs' || key === 'pumpsMs' || key === 'fairness'
      const middle = found.median.toFixed(digits)
      return range ? `${middle} (${found.low.toFixed(digits)} to ${found.high.toFixed(digits)})` : middle
    })
    return `| ${name} | ${cells.join(' | ')} |`
  })
  return `## ${title}\n\n${how}\n\n${head}\n${lines.join('\n')}\n`
}

/** Two digits that mean something. */
function rounded(value: number): string {
  return Number.isFinite(value) ? `${Number(value.toPrecision(2))}` : 'none'
}

function micro(seconds: number): string {
  return `${(seconds * 1e6).toFixed(1)} us`
}
