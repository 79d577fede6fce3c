/** What passes now, by service, cluster and client: the JSON of `/v1/traffic`. Rates are of the last 5 to 10 seconds. */

/** A client is shown with so many of the services that it uses most. */
export const maxServicesOfClient = 5

export interface TrafficRates {
  /** Connections and UDP sessions that were connected, per second. */
  readonly perSecond: number
  readonly open: number
  /** Of all attempts to reach a backend, the part that failed: 0 to 1. */
  readonly failed: number
  /** Of all flows, the part that was refused, or got no backend. */
  readonly refused: number
  /** Those attempts and those flows per second, by which shares of several processes are added up. */
  readonly failedPerSecond: number
  readonly refusedPerSecond: number
  /** Until a backend was connected, in milliseconds, of the last one to two minutes; absent without any. */
  readonly dialP50?: number
  readonly dialP99?: number
  /** Bytes a second from clients, and to them; those of open flows are counted about once a second. */
  readonly sentPerSecond: number
  readonly receivedPerSecond: number
}

export interface ServiceTraffic extends TrafficRates {
  readonly namespace: string
  readonly name: string
  /** Connections in each of the last spans of `historyMs`, the oldest first; shorter at the start. */
  readonly history: readonly number[]
  readonly clusters: readonly (TrafficRates & { readonly cluster: string })[]
}

export interface ClusterTraffic extends TrafficRates {
  readonly cluster: string
}

/** Of the flows that the recorder has kept of the last minute. */
export interface ClientTraffic {
  readonly address: string
  readonly namespace?: string
  readonly pod?: string
  /** All of the minute; `failed` and `refused` are parts of them. */
  readonly flows: number
  readonly perSecond: number
  readonly open: number
  readonly failed: number
  readonly refused: number
  readonly sent: number
  readonly received: number
  /** The services that it uses most, with the number of flows. */
  readonly services: readonly { readonly service: string; readonly flows: number }[]
}

export interface Traffic {
  /** Wall-clock milliseconds. */
  readonly now: number
  readonly node: string
  readonly historyMs: number
  /** Those with traffic since the start, the busiest first. */
  readonly services: readonly ServiceTraffic[]
  readonly clusters: readonly ClusterTraffic[]
  readonly clients: readonly ClientTraffic[]
}

/** The part, 0 to 1, of itself and the rest. */
export function share(part: number, rest: number): number {
  return part === 0 ? 0 : part / (part + rest)
}
