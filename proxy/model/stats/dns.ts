/** Counters of the DNS responder, as it reports them and as the metrics page and `status` read them. */

/** Number of values per bucket, where bucket `i` holds values up to `bounds[i]`; the last one holds those above all bounds. */
export interface Distribution {
  readonly bounds: readonly number[]
  readonly counts: readonly number[]
  readonly sum: number
}

export interface RequestCount {
  readonly zone: string
  readonly transport: 'udp' | 'tcp'
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
  /** Seconds from question to reply. */
  readonly duration: Distribution
  readonly rcodes: Readonly<Record<string, number>>
}

export interface DnsStats {
  readonly requests: readonly RequestCount[]
  readonly responses: readonly ResponseCount[]
  readonly zones: readonly ZoneStats[]
  /** Queries with the DO bit. */
  readonly dnssecRequests: number
  /** Messages that got no reply: replies sent to us, fragments of messages, clients over their rate. */
  readonly dropped: number
  /** Queries of clients over their rate. */
  readonly limited: number
  /** Encoded answers of our own zones. */
  readonly answerCache: { readonly entries: number; readonly hits: number; readonly misses: number }
  /** Replies of upstream resolvers. */
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
