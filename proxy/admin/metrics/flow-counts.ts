/** Counts of flows, by service and cluster, for the metrics page. */
import { endpointText } from '../../model/address.ts'
import type { Backend } from '../../model/backend.ts'
import type { Directory } from '../../model/directory.ts'
import type { Bytes, CloseReason, Flow, FlowObserver, Refusal, Result, Totals } from '../../model/flow.ts'
import type { ServiceKey } from '../../model/service.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { Labels } from './counted.ts'
import { DurationHistogram, type Durations } from './durations.ts'
import type { Exemplar } from './open-metrics.ts'
import { Tally } from './tally.ts'

/** The counts of one service and protocol. */
export interface ServiceCounts {
  readonly labels: Labels
  readonly clusters: Map<string, ClusterCounts>
  /** By code: names of plugins, and `refusalCodes`. */
  readonly refusals: Tally<string>
}

/** The counts of one service, protocol and cluster. */
export interface ClusterCounts {
  readonly labels: Labels
  readonly outcomes: Record<Result['outcome'], number>
  readonly reasons: Record<CloseReason, number>
  /** Shared by all services: the labels are cluster and protocol. */
  readonly dial: Durations
  sent: number
  received: number
}

const maxCodes = 32
const dialSeconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]

/**
 * Counts flows by service, cluster and protocol. All labels come from the configuration and the sources, never from clients.
 * The counts of a service are removed with the service, so the directory bounds them.
 */
export class FlowCounts implements Omit<FlowObserver, 'connecting'> {
  readonly #directory: Directory
  readonly #services = { TCP: new Map<ServiceKey, ServiceCounts>(), UDP: new Map<ServiceKey, ServiceCounts>() }
  readonly #exemplars: Clock | undefined
  readonly dials = new DurationHistogram<'cluster' | 'protocol'>({
    name: 'starlane_dial_duration_seconds',
    help: 'Time until a backend was connected; for UDP, until its first reply.',
    labelNames: ['cluster', 'protocol'],
    bounds: dialSeconds,
  })

  /** `exemplars`: with it, the latest flow of each bucket of dial times is kept. */
  constructor(directory: Directory, exemplars?: Clock) {
    this.#directory = directory
    this.#exemplars = exemplars
    directory.onChange(change => {
      for (const { key, after } of change) if (!after) this.#forget(key)
    })
  }

  result(flow: Flow, backend: Backend, result: Result): void {
    const row = this.#clusterCounts(flow, backend)
    if (!row) return
    if (result.outcome !== 'connected') {
      row.outcomes[result.outcome]++
      return
    }
    row.outcomes.connected++
    const seconds = result.ms / 1000
    const bucket = row.dial.observe(seconds)
    if (this.#exemplars) row.dial.exemplars[bucket] = exemplarOf(flow, backend, seconds, this.#exemplars)
  }

  carried(flow: Flow, backend: Backend, _total: Bytes, more: Bytes): void {
    const row = this.#clusterCounts(flow, backend)
    if (!row) return
    row.sent += more.sent
    row.received += more.received
  }

  closed(flow: Flow, backend: Backend, totals: Totals): void {
    const row = this.#clusterCounts(flow, backend)
    if (!row) return
    // The usual reason by its name, which costs no look-up.
    if (totals.reason === 'done') row.reasons.done++
    else row.reasons[totals.reason]++
    row.sent += totals.sent - (totals.told?.sent ?? 0)
    row.received += totals.received - (totals.told?.received ?? 0)
  }

  refused(flow: Flow, refusal: Refusal): void {
    this.#serviceCounts(flow)?.refusals.add(refusal.code)
  }

  *all(): Iterable<ServiceCounts> {
    yield* this.#services.TCP.values()
    yield* this.#services.UDP.values()
  }

  #clusterCounts(flow: Flow, { cluster }: Backend): ClusterCounts | undefined {
    const counts = this.#serviceCounts(flow)
    const known = counts?.clusters.get(cluster)
    if (known || !counts) return known
    const row = noCounts({ ...counts.labels, cluster }, this.dials.row({ cluster, protocol: flow.frontend.protocol }))
    counts.clusters.set(cluster, row)
    return row
  }

  /** Undefined for the last flows of a removed service, whose counts would never be removed. */
  #serviceCounts({ service: { key, namespace, name }, frontend: { protocol } }: Flow): ServiceCounts | undefined {
    const services = protocol === 'UDP' ? this.#services.UDP : this.#services.TCP
    const known = services.get(key)
    if (known || !this.#directory.service(key)) return known
    const counts = {
      labels: { namespace, service: name, protocol },
      clusters: new Map(),
      refusals: new Tally<string>(maxCodes, 'other'),
    }
    services.set(key, counts)
    return counts
  }

  #forget(key: ServiceKey): void {
    this.#services.TCP.delete(key)
    this.#services.UDP.delete(key)
  }
}

/** What `starlane observe` finds the flow by. */
function exemplarOf({ client, service }: Flow, backend: Backend, value: number, clock: Clock): Exemplar {
  const labels = { client: endpointText(client.address, client.port), service: service.key, backend: backend.key }
  return { labels, value, at: clock.wall() }
}

function noCounts(labels: Labels, dial: Durations): ClusterCounts {
  const outcomes = { connected: 0, refused: 0, timeout: 0, unreachable: 0, local: 0, cancelled: 0 }
  const resets = { 'client-reset': 0, 'backend-reset': 0 }
  const reasons = {
    done: 0,
    ...resets,
    idle: 0,
    'half-closed': 0,
    drained: 0,
    'backend-lost': 0,
    removed: 0,
    evicted: 0,
    passed: 0,
    shutdown: 0,
  }
  return { labels, outcomes, reasons, dial, sent: 0, received: 0 }
}
