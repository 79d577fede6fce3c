/**
 * Counts flows by service and cluster, for rates and percentiles of now: a few additions per flow. Unlike the recorder's ring it
 * leaves out none. What a row had at the last two ticks is kept, so a rate is the difference over the time since the older one.
 */
import type { Backend } from '../model/backend.ts'
import type { Directory } from '../model/directory.ts'
import {
  type Bytes,
  blames,
  type Flow,
  type FlowObserver,
  type Refusal,
  type Result,
  type Totals,
} from '../model/flow.ts'
import { type ClusterTraffic, type ServiceTraffic, share, type TrafficRates } from '../model/flows/traffic.ts'
import type { ServiceKey } from '../model/service.ts'
import type { Clock } from '../model/time/clock.ts'

export const tickMs = 5000
/** Five minutes. */
const historyTicks = 60
/** Percentiles are of the spans of this length that are over, and of the current one. */
const percentileTicks = 12

/** Cells of a row. */
const connected = 0
const failed = 1
const refused = 2
const closed = 3
const sent = 4
const received = 5
const cells = 6

/** Bounds of the dial times, in milliseconds: 0.1 ms to 13 s, each a quarter more than the one before. */
const bounds = Array.from({ length: 54 }, (_, i) => 0.1 * 1.25 ** i)
const logOfStep = Math.log(1.25)

class Row {
  readonly counts = new Float64Array(cells)
  /** Those of the last tick, and of the one before. */
  readonly last = new Float64Array(cells)
  readonly older = new Float64Array(cells)
  readonly dials = new Uint32Array(bounds.length + 1)
  readonly olderDials = new Uint32Array(bounds.length + 1)

  dial(ms: number): void {
    const at = ms <= 0.1 ? 0 : Math.min(Math.ceil(Math.log(ms * 10) / logOfStep), bounds.length)
    this.dials[at] = (this.dials[at] as number) + 1
  }

  tick(endsSpan: boolean): void {
    this.older.set(this.last)
    this.last.set(this.counts)
    if (!endsSpan) return
    this.olderDials.set(this.dials)
    this.dials.fill(0)
  }
}

interface ServiceRow {
  readonly clusters: Map<string, Row>
  /** Refusals; connections and bytes are in the rows of the clusters. */
  readonly all: Row
  readonly history: Uint32Array
}

export class TrafficCounts implements Omit<FlowObserver, 'connecting'> {
  readonly #directory: Directory
  readonly #clock: Clock
  readonly #services = new Map<ServiceKey, ServiceRow>()
  readonly #unwatch: () => void
  readonly #stop: () => void
  #ticks = 0
  #lastTick: number
  #olderTick: number

  constructor(directory: Directory, clock: Clock) {
    this.#directory = directory
    this.#clock = clock
    this.#lastTick = this.#olderTick = clock.now()
    this.#unwatch = directory.onChange(change => {
      for (const { key, after } of change) if (!after) this.#services.delete(key)
    })
    this.#stop = clock.every(tickMs, () => this.#tick())
  }

  result(flow: Flow, backend: Backend, result: Result): void {
    const row = this.#clusterRow(flow, backend)
    if (!row) return
    if (result.outcome === 'connected') {
      add(row, connected, 1)
      row.dial(result.ms)
    } else if (blames(result)) add(row, failed, 1)
  }

  carried(flow: Flow, backend: Backend, _total: Bytes, more: Bytes): void {
    const row = this.#clusterRow(flow, backend)
    if (!row) return
    add(row, sent, more.sent)
    add(row, received, more.received)
  }

  closed(flow: Flow, backend: Backend, totals: Totals): void {
    const row = this.#clusterRow(flow, backend)
    if (!row) return
    add(row, closed, 1)
    add(row, sent, totals.sent - (totals.told?.sent ?? 0))
    add(row, received, totals.received - (totals.told?.received ?? 0))
  }

  refused(flow: Flow, _refusal: Refusal): void {
    const row = this.#serviceRow(flow)?.all
    if (row) add(row, refused, 1)
  }

  /** The busiest first. */
  services(): ServiceTraffic[] {
    const found: ServiceTraffic[] = []
    for (const [key, row] of this.#services) {
      const at = key.indexOf('/')
      const clusters = [...row.clusters].map(([cluster, each]) => ({ cluster, ...this.#rates([each]) }))
      found.push({
        namespace: key.slice(0, at),
        name: key.slice(at + 1),
        ...this.#rates([row.all, ...row.clusters.values()]),
        history: this.#historyOf(row),
        clusters: clusters.sort(busiest),
      })
    }
    return found.sort(busiest)
  }

  clusters(): ClusterTraffic[] {
    const rows = new Map<string, Row[]>()
    for (const { clusters } of this.#services.values()) {
      for (const [cluster, row] of clusters) rows.set(cluster, [...(rows.get(cluster) ?? []), row])
    }
    return [...rows].map(([cluster, each]) => ({ cluster, ...this.#rates(each) })).sort(busiest)
  }

  close(): void {
    this.#unwatch()
    this.#stop()
  }

  #clusterRow(flow: Flow, { cluster }: Backend): Row | undefined {
    const service = this.#serviceRow(flow)
    const known = service?.clusters.get(cluster)
    if (known || !service) return known
    const row = new Row()
    service.clusters.set(cluster, row)
    return row
  }

  /** Undefined for the last flows of a removed service, whose counts would never be removed. */
  #serviceRow({ service: { key } }: Flow): ServiceRow | undefined {
    const known = this.#services.get(key)
    if (known || !this.#directory.service(key)) return known
    const row = { clusters: new Map(), all: new Row(), history: new Uint32Array(historyTicks) }
    this.#services.set(key, row)
    return row
  }

  #tick(): void {
    const now = this.#clock.now()
    const endsSpan = ++this.#ticks % percentileTicks === 0
    for (const { clusters, all, history } of this.#services.values()) {
      let connections = 0
      for (const row of clusters.values()) {
        connections += (row.counts[connected] as number) - (row.last[connected] as number)
        row.tick(endsSpan)
      }
      all.tick(endsSpan)
      history[this.#ticks % historyTicks] = connections
    }
    this.#olderTick = this.#lastTick
    this.#lastTick = now
  }

  #historyOf({ history }: ServiceRow): number[] {
    const known = Math.min(this.#ticks, historyTicks)
    return Array.from({ length: known }, (_, i) => history[(this.#ticks - known + 1 + i) % historyTicks] as number)
  }

  #rates(rows: readonly Row[]): TrafficRates {
    const seconds = Math.max(this.#clock.now() - this.#olderTick, 1) / 1000
    const total = (cell: number) => rows.reduce((sum, { counts }) => sum + (counts[cell] as number), 0)
    const recent = (cell: number) =>
      rows.reduce((sum, { counts, older }) => sum + (counts[cell] as number) - (older[cell] as number), 0)
    const connections = recent(connected)
    const dials = dialsOf(rows)
    return {
      perSecond: rounded(connections / seconds),
      open: Math.max(0, total(connected) - total(closed)),
      failed: rounded(share(recent(failed), connections), 1e6),
      refused: rounded(share(recent(refused), connections), 1e6),
      failedPerSecond: rounded(recent(failed) / seconds),
      refusedPerSecond: rounded(recent(refused) / seconds),
      ...(dials ? { dialP50: rounded(percentile(dials, 0.5)), dialP99: rounded(percentile(dials, 0.99)) } : {}),
      sentPerSecond: rounded(recent(sent) / seconds, 1),
      receivedPerSecond: rounded(recent(received) / seconds, 1),
    }
  }
}

function add({ counts }: Row, cell: number, amount: number): void {
  counts[cell] = (counts[cell] as number) + amount
}

/** To so many parts of one: digits that nobody sees are most of the text of thousands of services. Never to nothing. */
function rounded(value: number, parts = 1000): number {
  return value > 0 ? Math.max(Math.round(value * parts), 1) / parts : 0
}

function dialsOf(rows: readonly Row[]): Float64Array | undefined {
  const sum = new Float64Array(bounds.length + 1)
  let all = 0
  for (const { dials, olderDials } of rows) {
    for (let i = 0; i < sum.length; i++) {
      const count = (dials[i] as number) + (olderDials[i] as number)
      sum[i] = (sum[i] as number) + count
      all += count
    }
  }
  return all > 0 ? sum : undefined
}

/** The upper bound of the span in which it lies, so at most a quarter too much. */
function percentile(counts: Float64Array, part: number): number {
  const all = counts.reduce((sum, count) => sum + count, 0)
  let left = Math.ceil(all * part)
  const at = counts.findIndex(count => {
    left -= count
    return left <= 0
  })
  return bounds[Math.min(Math.max(at, 0), bounds.length - 1)] as number
}

function busiest(a: TrafficRates, b: TrafficRates): number {
  return b.perSecond - a.perSecond || b.open - a.open
}
