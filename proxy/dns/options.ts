/** Options of the DNS responder and their defaults. Durations in milliseconds. */
import { type Cidr, isLoopback, privateRanges } from '../model/address.ts'
import { defaultSpecialUse, type SpecialUseDomain } from '../model/text/special-use.ts'

/** Which names of pods exist: none, any address spelled out, or only addresses of Pods and ready endpoints. */
export type PodsMode = 'disabled' | 'insecure' | 'verified'

/** Which queries are logged; a part that is left out matches all. */
export interface QueryFilter {
  readonly clients?: readonly Cidr[]
  /** Names, each with all names below it; lower case. */
  readonly names?: readonly string[]
}

export interface DnsOptions {
  /** For UDP and TCP. With port 0 the kernel chooses one for both. */
  readonly listen: { readonly address: string; readonly port: number }
  /** The zone of this cluster. Default `cluster.local`. */
  readonly domain?: string
  /** The zone of the clusterset; null for none. Default `clusterset.local`. */
  readonly clusterset?: string | null
  /** TTL of answers and denials of our own zones. Default 5 s, at most 1 h. */
  readonly ttlMs?: number
  /** Complete short names (`rebel-base`, `rebel-base.default`) for clients without a search path. Default true. */
  readonly search?: boolean
  /** The namespace of a single-label name. Default `default`. */
  readonly searchNamespace?: string
  /** Names such as `1-2-3-4.ns.pod`. Default `disabled`, as in CoreDNS. */
  readonly pods?: PodsMode
  /** Networks whose reverse names get NXDOMAIN when no service has the address; others are forwarded. Default none. */
  readonly networks?: readonly Cidr[]
  /** Addresses of `ns.dns`. Default: the listen address, or none when that is a wildcard. */
  readonly advertise?: readonly string[]
  /**
   * Answer the first step of a pod's search path (`example.org.ns.svc.cluster.local`) with the result of the last, so that
   * an outside name costs one query instead of five. Default false.
   */
  readonly autopath?: boolean
  /** Hide virtual-IP services without a ready backend in any cluster (CoreDNS `ignore empty_service`). Default false. */
  readonly hideEmpty?: boolean
  /** Special-use domains that are answered here and not forwarded, unless `routes` has them. Default all but `test`. */
  readonly specialUse?: readonly SpecialUseDomain[]
  /** Resolvers for all other names: addresses, `address:port`, or paths of `resolv.conf` files. Default none: such names are REFUSED. */
  readonly upstream?: readonly string[]
  /** Resolvers for single domains; the longest match wins. Default none. */
  readonly routes?: Readonly<Record<string, readonly string[]>>
  readonly forward?: Partial<ForwardOptions>
  readonly cache?: Partial<CacheOptions>
  readonly access?: Partial<AccessOptions>
  readonly tcp?: Partial<TcpOptions>
  readonly rate?: Partial<RateOptions>
  /** Queries to log from the start. Default none. */
  readonly queryLog?: QueryFilter
}

export interface ForwardOptions {
  /** Which upstream is asked first. Default `sequential`, as with `resolv.conf`. */
  readonly policy: 'sequential' | 'random' | 'round-robin'
  /** Timeout of one try. Default 1.5 s. */
  readonly tryMs: number
  /** Timeout of all tries together; less than the 5 s that clients wait. Default 4.5 s. */
  readonly totalMs: number
  /** Questions to upstreams in flight; SERVFAIL beyond it. Default 1000. */
  readonly concurrent: number
  /** Those of one client. Undefined, the default: no fixed limit, but a fair share while most of `concurrent` is in use. */
  readonly perClient: number | undefined
  /**
   * Send the letters of names in random case, which a forger of replies has to guess (0x20). `auto`: to all upstreams but
   * those on loopback addresses, whose replies nobody can forge. Default `auto`.
   */
  readonly randomCase: 'auto' | 'always' | 'never'
  /** Consecutive failures after which an upstream is down until it answers a probe; 0 means never. Default 2. */
  readonly maxFails: number
}

/** The cache of upstream replies; answers of our own zones are invalidated by the directory instead. */
export interface CacheOptions {
  /** Default 16 MiB. */
  readonly bytes: number
  /** Longest TTL of an answer. Default 1 h. */
  readonly maxSeconds: number
  /** Longest TTL of a denial. Default 300 s. */
  readonly maxNegativeSeconds: number
  /** How long after its TTL an answer may be served when no upstream answers; 0 means never. Default 1 h. */
  readonly staleMs: number
  /** How long to wait for a fresh answer before a stale one is served. Default 1.8 s (RFC 8767 5). */
  readonly staleWaitMs: number
  /** Refresh names in use during the last tenth of their TTL. Default true. */
  readonly prefetch: boolean
}

export interface AccessOptions {
  /**
   * The clients that are answered; others get REFUSED. Undefined: all. Default: all at a loopback address, else private ranges
   * and `networks`.
   */
  readonly allow: readonly Cidr[] | undefined
  /** Clients that ask for many others, such as CoreDNS: no limit per client applies to them. Default none. */
  readonly trusted: readonly Cidr[]
}

/** Whether no limit per client applies to an address. */
export type IsTrusted = (address: string) => boolean

export interface TcpOptions {
  /** Connections in total; beyond it those of the client with the most are closed, the longest idle first. Default 1000. */
  readonly connections: number
  /** Unanswered questions per connection; reading pauses beyond it. Default 100. */
  readonly inFlight: number
  /** Idle time between questions. Default 10 s. */
  readonly idleMs: number
  /** Time to receive a whole message, and for the client to read an answer. Default 5 s. */
  readonly messageMs: number
}

/** UDP replies per client, an IPv4 address or an IPv6 /64. TCP has its own limits. */
export interface RateOptions {
  /** Replies per second; 0 sets no limit. Default 1000, and 0 at a loopback address. */
  readonly perSecond: number
  /** Replies at once after a quiet time. Default: those of two seconds. */
  readonly burst: number
  /** Every how many replies over the rate one with TC is sent instead of none; 0 drops all. Default 2. */
  readonly slip: number
  /** Clients tracked. Default 10,000. */
  readonly clients: number
}

export type FullDnsOptions = Required<
  Omit<DnsOptions, 'forward' | 'cache' | 'access' | 'tcp' | 'rate' | 'queryLog'>
> & {
  readonly forward: ForwardOptions
  readonly cache: CacheOptions
  readonly access: AccessOptions
  readonly tcp: TcpOptions
  readonly rate: RateOptions
  readonly queryLog: QueryFilter | undefined
}

/** More than a busy pod asks; over it a client is told to use TCP. */
const openPerSecond = 1000

export function withDefaults(options: DnsOptions): FullDnsOptions {
  const { address } = options.listen
  const perSecond = options.rate?.perSecond ?? (isLoopback(address) ? 0 : openPerSecond)
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
    specialUse: defaultSpecialUse,
    upstream: [],
    routes: {},
    ...options,
    forward: {
      policy: 'sequential',
      tryMs: 1500,
      totalMs: 4500,
      concurrent: 1000,
      perClient: undefined,
      randomCase: 'auto',
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
    access: {
      allow: isLoopback(address) ? undefined : [...privateRanges, ...(options.networks ?? [])],
      trusted: [],
      ...options.access,
    },
    tcp: { connections: 1000, inFlight: 100, idleMs: 10_000, messageMs: 5000, ...options.tcp },
    rate: { burst: 2 * perSecond, slip: 2, clients: 10_000, ...options.rate, perSecond },
    queryLog: options.queryLog,
  }
}
