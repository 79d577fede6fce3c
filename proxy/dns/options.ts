/** What can be set about DNS, with the values it has when it is not. Durations in milliseconds. */
import type { Cidr } from '../model/address.ts'
import type { QueryFilter } from './query-log.ts'
import type { PodsMode } from './zones/cluster.ts'

export interface DnsOptions {
  /** UDP and TCP. Port 0 lets the kernel choose one for both. */
  readonly listen: { readonly address: string; readonly port: number }
  /** The zone of this cluster. Default `cluster.local`. */
  readonly domain?: string
  /** The zone of all clusters; null for none. Default `clusterset.local`. */
  readonly clusterset?: string | null
  /** How long clients may remember our own answers, and denials of them. Default 5 s, at most 1 h. */
  readonly ttlMs?: number
  /** Complete names sent without a search path: `rebel-base`, `rebel-base.default`. Default true. */
  readonly search?: boolean
  /** The namespace of a single-label name. Default `default`. */
  readonly searchNamespace?: string
  /** `1-2-3-4.ns.pod`: none, any address spelled, or only those of known endpoints. Default `disabled`, as in CoreDNS. */
  readonly pods?: PodsMode
  /** Networks whose reverse names are denied here when nothing has them; others are forwarded. Default none. */
  readonly networks?: readonly Cidr[]
  /** Addresses that `ns.dns` answers; by default the one listened on, unless that is all of them. */
  readonly advertise?: readonly string[]
  /**
   * Answer the first step of a pod's search path (`example.org.ns.svc.cluster.local`) with what the last would give, so
   * that an outside name costs one query in place of five. Default false.
   */
  readonly autopath?: boolean
  /** Hide virtual-IP services without a ready backend in any cluster (CoreDNS `ignore empty_service`). Default false. */
  readonly hideEmpty?: boolean
  /** Resolvers for all other names: addresses, `address:port`, or paths of `resolv.conf` files. Default none: REFUSED. */
  readonly upstream?: readonly string[]
  /** Other resolvers for some domains; the longest match wins. Default none. */
  readonly routes?: Readonly<Record<string, readonly string[]>>
  readonly forward?: Partial<ForwardOptions>
  readonly cache?: Partial<CacheOptions>
  readonly tcp?: Partial<TcpOptions>
  readonly rate?: Partial<RateOptions>
  /** Queries to write to the log from the start. Default none. */
  readonly queryLog?: QueryFilter
}

export interface ForwardOptions {
  /** Which upstream is asked first. Default `sequential`, as resolvers read `resolv.conf`. */
  readonly policy: 'sequential' | 'random' | 'round-robin'
  /** For one try. Default 1.5 s. */
  readonly tryMs: number
  /** For all tries together; below the 5 s that clients wait. Default 4.5 s. */
  readonly totalMs: number
  /** Questions on their way at one time; beyond it SERVFAIL. Default 1000. */
  readonly concurrent: number
  /** Of them those of one client. Default 500. */
  readonly perClient: number
  /** Failures in a row after which an upstream is passed over until a probe is answered; 0 means never. Default 2. */
  readonly maxFails: number
}

/** For what upstreams said; our own answers are not cached but kept in step with the directory. */
export interface CacheOptions {
  /** Default 16 MiB. */
  readonly bytes: number
  /** The longest that an answer is believed. Default 1 h. */
  readonly maxSeconds: number
  /** The longest that a denial is believed. Default 300 s. */
  readonly maxNegativeSeconds: number
  /** How long an answer past its time may still be given when no upstream answers; 0 means never. Default 1 h. */
  readonly staleMs: number
  /** How long a client waits for a fresh answer when there is a stale one. Default 1.8 s (RFC 8767 5). */
  readonly staleWaitMs: number
  /** Ask again for names in use, in the last tenth of their time. Default true. */
  readonly prefetch: boolean
}

export interface TcpOptions {
  /** Connections in all. Default 1000; the one idle longest makes room. */
  readonly connections: number
  /** Connections of one address. Default 100. */
  readonly perClient: number
  /** Unanswered questions of one connection; beyond it nothing more is read. Default 100. */
  readonly inFlight: number
  /** Silence between questions. Default 10 s. */
  readonly idleMs: number
  /** From a message's first byte to its last, and for a client to read an answer. Default 5 s. */
  readonly messageMs: number
}

/** UDP replies per client: an IPv4 address or an IPv6 /64. TCP has its own bounds. */
export interface RateOptions {
  /** Default 0: no limit. */
  readonly perSecond: number
  /** What a client may save up. Default ten seconds' worth. */
  readonly burst: number
  /** Of the replies over the rate each so-many-th says "come by TCP", the others are dropped; 0 drops all. Default 2. */
  readonly slip: number
  /** Clients remembered. Default 10,000. */
  readonly clients: number
}

export type Settled = Required<Omit<DnsOptions, 'forward' | 'cache' | 'tcp' | 'rate' | 'queryLog'>> & {
  readonly forward: ForwardOptions
  readonly cache: CacheOptions
  readonly tcp: TcpOptions
  readonly rate: RateOptions
  readonly queryLog: QueryFilter | undefined
}

export function settle(options: DnsOptions): Settled {
  const { address } = options.listen
  return {
    domain: 'cluster.local',
    clusterset: 'clusterset.local',
    ttlMs: 5000,
    search: true,
    searchNamespace: 'default',
    pods: 'disabled',
    networks: [],
    advertise: address === '0.0.0.0' || address === '::' ? [] : [address],
    autopath: false,
    hideEmpty: false,
    upstream: [],
    routes: {},
    ...options,
    forward: {
      policy: 'sequential',
      tryMs: 1500,
      totalMs: 4500,
      concurrent: 1000,
      perClient: 500,
      maxFails: 2,
      ...options.forward,
    },
    cache: {
      bytes: 16 << 20,
      maxSeconds: 3600,
      maxNegativeSeconds: 300,
      staleMs: 3_600_000,
      staleWaitMs: 1800,
      prefetch: true,
      ...options.cache,
    },
    tcp: { connections: 1000, perClient: 100, inFlight: 100, idleMs: 10_000, messageMs: 5000, ...options.tcp },
    rate: { perSecond: 0, burst: 10 * (options.rate?.perSecond ?? 0), slip: 2, clients: 10_000, ...options.rate },
    queryLog: options.queryLog,
  }
}
