/**
 * Counts what was asked and answered, as CoreDNS does: by zone, transport, family, type and rcode, never by name, so that no
 * client can make the counters grow. Counting a request is a few additions into arrays.
 */
import { familyOf } from '../model/address.ts'
import type { RequestCount, ResponseCount, ZoneStats } from '../model/stats/dns.ts'
import { Histogram } from './histogram.ts'
import { rcodeName, typeName, types } from './message/wire.ts'
import type { DnsRequest } from './request.ts'

const byteBounds = [0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000]
const countedTypes: readonly number[] = Object.values(types)
const otherType = countedTypes.length
const rowLength = otherType + 1
/** BADVERS, 16, is the highest rcode we send. */
const rcodeCount = 17

/** The counters of one zone; callers keep the object, so that the zone is looked up once. */
export class ZoneCounters {
  readonly zone: string
  /** One cell per transport, family and type. */
  readonly requests = new Float64Array(4 * rowLength)
  readonly rcodes = new Float64Array(rcodeCount)
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

export class Counters {
  dnssecRequests = 0
  /** Messages without a reply. */
  dropped = 0
  /** Queries of clients over their rate. */
  limited = 0
  /** Queries answered from the answer cache, and queries that it did not know. */
  hits = 0
  misses = 0
  readonly #zones = new Map<string, ZoneCounters>()

  /** `name` is one of our zones, `.` or `dropped`, never a name that a client chose. */
  zone(name: string): ZoneCounters {
    const existing = this.#zones.get(name)
    if (existing) return existing
    const counters = new ZoneCounters(name)
    this.#zones.set(name, counters)
    return counters
  }

  count(zone: ZoneCounters, request: DnsRequest, rcode: number, replyBytes: number, now: number): void {
    const { query, client, transport, at } = request
    const row = (transport === 'udp' ? 0 : 2) + (familyOf(client.address) === 4 ? 0 : 1)
    const cell = row * rowLength + (query.type < typeIndex.length ? (typeIndex[query.type] as number) : otherType)
    zone.requests[cell] = (zone.requests[cell] as number) + 1
    zone.rcodes[rcode] = (zone.rcodes[rcode] as number) + 1
    zone.requestBytes.add(query.length)
    zone.responseBytes.add(replyBytes)
    zone.duration.add((now - at) / 1000)
    if (query.dnssec) this.dnssecRequests++
  }

  /** A message that was not a valid query and got an error reply. */
  refused(zone: ZoneCounters, rcode: number): void {
    const cell = Math.min(rcode, rcodeCount - 1)
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
      duration: duration.snapshot(),
      requestBytes: requestBytes.snapshot(),
      responseBytes: responseBytes.snapshot(),
    }))
  }
}
