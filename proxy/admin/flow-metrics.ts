import type { Registry } from 'prom-client'
import type { Backend } from '../model/backend.ts'
import type { Directory } from '../model/directory.ts'
import type { CloseReason, Flow, FlowObserver, Refusal, Result, Totals } from '../model/flow.ts'
import type { ServiceKey } from '../model/service.ts'
import { counted, type Labels, type Sample, Tally } from './counted.ts'
import { DurationHistogram, type Durations } from './durations.ts'

/** What the flows of one service, over one protocol, did. */
interface Sheet {
  readonly labels: Labels
  readonly clusters: Map<string, Row>
  /** By code: names of plugins, and `refusalCodes`. */
  readonly refusals: Tally<string>
}

/** The part of it that went to one cluster. */
interface Row {
  readonly labels: Labels
  readonly outcomes: Record<Result['outcome'], number>
  readonly reasons: Record<CloseReason, number>
  /** Of all services together. */
  readonly dial: Durations
  sent: number
  received: number
}

const mostCodes = 32
const dialSeconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]

/**
 * Counts flows by service, cluster and protocol: names from the configuration and the sources only, never from
 * clients. A service that leaves the directory takes its numbers along, so the directory bounds them.
 */
export class FlowMetrics implements FlowObserver {
  readonly #directory: Directory
  readonly #sheets = { TCP: new Map<ServiceKey, Sheet>(), UDP: new Map<ServiceKey, Sheet>() }
  readonly #dials: DurationHistogram<'cluster' | 'protocol'>

  constructor(registry: Registry, directory: Directory) {
    this.#directory = directory
    directory.onChange(change => {
      for (const { key, after } of change) if (!after) this.#forget(key)
    })
    const service = ['namespace', 'service', 'protocol']
    const way = [...service, 'cluster']
    const add = (name: string, help: string, labelNames: string[], samples: () => Iterable<Sample>) =>
      counted(registry, { name: `starlane_${name}_total`, help, labelNames }, samples)

    add(
      'attempts',
      'Attempts to reach a backend, by how they ended; a flow makes one or more.',
      [...way, 'outcome'],
      () => this.#rows(row => spread(row.labels, 'outcome', Object.entries(row.outcomes))),
    )
    add('closes', 'Ends of flows that were connected, by why.', [...way, 'reason'], () =>
      this.#rows(row => spread(row.labels, 'reason', Object.entries(row.reasons))),
    )
    add('refusals', 'Flows without a backend, by the plugin or rule that refused them.', [...service, 'code'], () =>
      this.#refusals(),
    )
    add('sent_bytes', 'Bytes from clients to backends, counted when a flow ends.', way, () =>
      this.#rows(row => [[row.labels, row.sent]]),
    )
    add('received_bytes', 'Bytes from backends to clients, counted when a flow ends.', way, () =>
      this.#rows(row => [[row.labels, row.received]]),
    )
    this.#dials = new DurationHistogram(registry, {
      name: 'starlane_dial_duration_seconds',
      help: 'Time until a backend was connected; for UDP until its first reply.',
      labelNames: ['cluster', 'protocol'],
      bounds: dialSeconds,
    })
  }

  /** Each attempt is counted once, by its result. */
  connecting(): void {}

  result(flow: Flow, backend: Backend, result: Result): void {
    const row = this.#row(flow, backend)
    if (!row) return
    row.outcomes[result.outcome]++
    if (result.outcome === 'connected') row.dial.observe(result.ms / 1000)
  }

  closed(flow: Flow, backend: Backend, totals: Totals): void {
    const row = this.#row(flow, backend)
    if (!row) return
    row.reasons[totals.reason]++
    row.sent += totals.sent
    row.received += totals.received
  }

  refused(flow: Flow, refusal: Refusal): void {
    this.#sheet(flow)?.refusals.add(refusal.code)
  }

  #row(flow: Flow, { cluster }: Backend): Row | undefined {
    const sheet = this.#sheet(flow)
    const known = sheet?.clusters.get(cluster)
    if (known || !sheet) return known
    const row = emptyRow({ ...sheet.labels, cluster }, this.#dials.row({ cluster, protocol: flow.frontend.protocol }))
    sheet.clusters.set(cluster, row)
    return row
  }

  /** Undefined for the last flows of a service that is gone: nothing would ever take their numbers away. */
  #sheet({ service: { key, namespace, name }, frontend: { protocol } }: Flow): Sheet | undefined {
    const sheets = protocol === 'UDP' ? this.#sheets.UDP : this.#sheets.TCP
    const known = sheets.get(key)
    if (known || !this.#directory.service(key)) return known
    const sheet = {
      labels: { namespace, service: name, protocol },
      clusters: new Map(),
      refusals: new Tally<string>(mostCodes, 'other'),
    }
    sheets.set(key, sheet)
    return sheet
  }

  #forget(key: ServiceKey): void {
    this.#sheets.TCP.delete(key)
    this.#sheets.UDP.delete(key)
  }

  *#all(): Iterable<Sheet> {
    yield* this.#sheets.TCP.values()
    yield* this.#sheets.UDP.values()
  }

  *#rows(samples: (row: Row) => Iterable<Sample>): Iterable<Sample> {
    for (const { clusters } of this.#all()) for (const row of clusters.values()) yield* samples(row)
  }

  *#refusals(): Iterable<Sample> {
    for (const { labels, refusals } of this.#all()) yield* spread(labels, 'code', refusals)
  }
}

function emptyRow(labels: Labels, dial: Row['dial']): Row {
  const outcomes = { connected: 0, refused: 0, timeout: 0, unreachable: 0, local: 0, cancelled: 0 }
  const resets = { 'client-reset': 0, 'backend-reset': 0 }
  const reasons = { done: 0, ...resets, idle: 0, 'half-closed': 0, drained: 0, removed: 0, shutdown: 0 }
  return { labels, outcomes, reasons, dial, sent: 0, received: 0 }
}

/** Only what has happened: series for all that never did would be most of the page. */
function* spread(labels: Labels, name: string, counts: Iterable<readonly [string, number]>): Iterable<Sample> {
  for (const [value, count] of counts) if (count > 0) yield [{ ...labels, [name]: value }, count]
}
