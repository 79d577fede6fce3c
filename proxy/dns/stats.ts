/**
 * What was asked and answered, in numbers, as CoreDNS counts it: by zone, transport, family, type and rcode, never by
 * name, so that no client can make the counters grow. Counting on the fast way is a few additions into arrays.
 */
import { familyOf } from '../model/address.ts'
import type { Client } from '../model/flow.ts'
import type { Query } from './message/query.ts'
import { rcodeName, typeName, types } from './message/wire.ts'
import type { Transport } from './server/udp.ts'

/** Counts per bucket, of values up to `bounds[i]`; the last count is of what lies beyond all bounds. */
export interface Distribution {
  readonly bounds: readonly number[]
  readonly counts: readonly number[]
  readonly sum: number
}

export interface RequestCount {
  readonly zone: string
  readonly transport: Transport
  readonly family: 4 | 6
  /** `other` for types without a counter of their own. */
  readonly type: string
  readonly count: number
}

export interface ResponseCount {
  readonly zone: string
  readonly rcode: string
  readonly count: number
}

export interface ZoneStats {
  readonly zone: string
  /** Seconds from question to answer. */
  readonly duration: Distribution
  readonly requestBytes: Distribution
  readonly responseBytes: Distribution
}

export interface UpstreamStats {
  readonly name: string
  readonly state: 'up' | 'down' | 'loop'
  readonly requests: number
  readonly failures: number
  /** Probes without a reply. */
  readonly probeFailures: number
  readonly duration: Distribution
  readonly rcodes: Readonly<Record<string, number>>
}

export interface DnsStats {
  readonly requests: readonly RequestCount[]
  readonly responses: readonly ResponseCount[]
  readonly zones: readonly ZoneStats[]
  /** Queries with DO. */
  readonly dnssecRequests: number
  /** Messages that got no answer at all: replies, scraps, clients over their rate. */
  readonly dropped: number
  readonly limited: number
  /** Encoded answers of our own zones: the fast way. */
  readonly replies: { readonly entries: number; readonly hits: number; readonly misses: number }
  /** What upstreams said. */
  readonly cache: {
    readonly entries: number
    readonly bytes: number
    readonly hits: number
    readonly denialHits: number
    readonly misses: number
    readonly stale: number
    readonly prefetches: number
    readonly coalesced: number
    readonly evictions: number
  }
  readonly forward: { readonly inFlight: number; readonly refused: number; readonly failures: number }
  readonly upstreams: readonly UpstreamStats[]
  readonly tcp: { readonly connections: number; readonly refused: number }
}

const secondsBounds = [
  0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
]
const byteBounds = [0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000]
const countedTypes: readonly number[] = Object.values(types)
const otherType = countedTypes.length
const rowLength = otherType + 1
/** BADVERS is the highest that we send. */
const mostRcodes = 17

/** A distribution that grows. */
export class Histogram implements Distribution {
  readonly bounds: readonly number[]
  readonly counts: number[]
  sum = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0)
  }

  static ofSeconds(): Histogram {
    return new Histogram(secondsBounds)
  }

  /** As it stands now. */
  taken(): Distribution {
    return { bounds: this.bounds, counts: [...this.counts], sum: this.sum }
  }

  add(value: number): void {
    this.sum += value
    let bucket = 0
    while (bucket < this.bounds.length && value > (this.bounds[bucket] as number)) bucket++
    this.counts[bucket] = (this.counts[bucket] as number) + 1
  }
}

/** Everything counted about one zone; the caller keeps it at hand and so looks it up once. */
export class ZoneCounters {
  readonly zone: string
  /** By transport, family and type. */
  readonly requests = new Float64Array(4 * rowLength)
  readonly rcodes = new Float64Array(mostRcodes)
  readonly duration = Histogram.ofSeconds()
  readonly requestBytes = new Histogram(byteBounds)
  readonly responseBytes = new Histogram(byteBounds)

  constructor(zone: string) {
    this.zone = zone
  }
}

const typeIndex = Uint8Array.from({ length: 258 }, (_, type) => {
  const index = countedTypes.indexOf(type)
  return index < 0 ? otherType : index
})

/** One query on its way to an answer. */
export interface Asking {
  readonly query: Query
  readonly client: Client
  readonly transport: Transport
  /** Milliseconds of the clock when it came. */
  readonly at: number
  /** Memory of the socket for a UDP reply that is known at once; without it a reply gets memory of its own. */
  readonly room: Buffer | undefined
}

export class Counters {
  dnssecRequests = 0
  /** Not answered at all. */
  dropped = 0
  /** Over the rate of their client. */
  limited = 0
  hits = 0
  misses = 0
  readonly #zones = new Map<string, ZoneCounters>()

  /** Zones are few and ours: none is named by a client. */
  zone(name: string): ZoneCounters {
    const known = this.#zones.get(name)
    if (known) return known
    const counters = new ZoneCounters(name)
    this.#zones.set(name, counters)
    return counters
  }

  count(zone: ZoneCounters, asking: Asking, rcode: number, replyBytes: number, now: number): void {
    const { query, client, transport, at } = asking
    const row = (transport === 'udp' ? 0 : 2) + (familyOf(client.address) === 4 ? 0 : 1)
    const cell = row * rowLength + (query.type < typeIndex.length ? (typeIndex[query.type] as number) : otherType)
    zone.requests[cell] = (zone.requests[cell] as number) + 1
    zone.rcodes[rcode] = (zone.rcodes[rcode] as number) + 1
    zone.requestBytes.add(query.length)
    zone.responseBytes.add(replyBytes)
    zone.duration.add((now - at) / 1000)
    if (query.dnssec) this.dnssecRequests++
  }

  /** A message that was no proper query: an error went back. */
  refused(zone: ZoneCounters, rcode: number): void {
    const cell = Math.min(rcode, mostRcodes - 1)
    zone.rcodes[cell] = (zone.rcodes[cell] as number) + 1
  }

  requests(): RequestCount[] {
    return [...this.#zones.values()].flatMap(({ zone, requests }) =>
      Array.from(requests, (count, cell): RequestCount => {
        const row = Math.floor(cell / rowLength)
        const type = countedTypes[cell % rowLength]
        const family = row % 2 === 0 ? 4 : 6
        return {
          zone,
          transport: row < 2 ? 'udp' : 'tcp',
          family,
          type: type === undefined ? 'other' : typeName(type),
          count,
        }
      }).filter(({ count }) => count > 0),
    )
  }

  responses(): ResponseCount[] {
    return [...this.#zones.values()].flatMap(({ zone, rcodes }) =>
      Array.from(rcodes, (count, rcode): ResponseCount => ({ zone, rcode: rcodeName(rcode), count })).filter(
        ({ count }) => count > 0,
      ),
    )
  }

  zones(): ZoneStats[] {
    return [...this.#zones.values()].map(({ zone, duration, requestBytes, responseBytes }) => ({
      zone,
      duration: duration.taken(),
      requestBytes: requestBytes.taken(),
      responseBytes: responseBytes.taken(),
    }))
  }
}
