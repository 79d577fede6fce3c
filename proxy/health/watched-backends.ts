/**
 * The backends that health watches: all that new flows can reach through a frontend of a proxied service. Follows the
 * directory change by change, and keeps backends that left for five minutes.
 */
import { LRUCache } from 'lru-cache'
import type { Backend, Health } from '../model/backend.ts'
import { growing } from '../model/limits/growing.ts'
import type { Frontend, GlobalService, ServiceKey } from '../model/service.ts'
import type { Clock } from '../model/time/clock.ts'
import type { Pool, WatchedBackend } from './watched-backend.ts'

// Long enough for a pod to restart at its address, or for a source to reconnect; short enough that an address reused for
// another pod seldom inherits a verdict.
const rememberMs = 5 * 60_000
const rememberAtMost = 10_000

export interface WatchedChange {
  readonly joined: readonly WatchedBackend[]
  readonly left: readonly WatchedBackend[]
}

const unchanged: WatchedChange = { joined: [], left: [] }

export class WatchedBackends {
  readonly #clock: Clock
  readonly #watches: (service: GlobalService) => boolean
  readonly #current = new Map<string, WatchedBackend>()
  readonly #recent: LRUCache<string, WatchedBackend>
  readonly #pools = new Map<ServiceKey, readonly Pool[]>()
  /** Those of UDP, by address: checks of TCP tell of them that their host is silent. */
  readonly #datagrams = new Map<string, Set<WatchedBackend>>()
  #down = 0

  constructor(clock: Clock, watches: (service: GlobalService) => boolean) {
    this.#clock = clock
    this.#watches = watches
    // lru-cache treats a start time of 0 as "no age", hence the 1.
    const perf = { now: () => clock.now() + 1 }
    this.#recent = new LRUCache({ ...growing(rememberAtMost), ttl: rememberMs, ttlResolution: 0, perf })
  }

  /** A backend that is in a pool now. */
  get(key: string): WatchedBackend | undefined {
    return this.#current.get(key)
  }

  /** Also finds backends that left recently. */
  recall(key: string): WatchedBackend | undefined {
    return this.#current.get(key) ?? this.#recent.get(key)
  }

  /** Those in a pool now. */
  current(): Iterable<WatchedBackend> {
    return this.#current.values()
  }

  /** Also those that left recently. */
  *known(): Iterable<WatchedBackend> {
    yield* this.#current.values()
    yield* this.#recent.values()
  }

  /** Destinations of the UDP backends at an address of a network. */
  datagramsAt(network: string | undefined, address: string): string[] {
    const found = [...(this.#datagrams.get(address) ?? [])].filter(one => one.network === network)
    return found.map(({ key }) => key)
  }

  get size(): number {
    return this.#current.size
  }

  get down(): number {
    return this.#down
  }

  /** The directory is to show this of a backend that is in a pool. */
  show(watched: WatchedBackend, health: Health): void {
    this.#down += Number(health === 'down') - Number(watched.shown === 'down')
    watched.shown = health
  }

  /** The service was added, replaced or removed. */
  replace(key: ServiceKey, service: GlobalService | undefined): WatchedChange {
    const before = this.#pools.get(key) ?? []
    const lists = service && this.#watches(service) ? service.frontends.map(reachable) : []
    const sendProxy = service?.settings.sendProxy === true
    if (samePools(before, lists, sendProxy)) return unchanged

    // Backends that stay are added to the new pool before they leave the old one, so they never count as gone.
    const joined: WatchedBackend[] = []
    const after = lists.map(backends => this.#pool(key, sendProxy, backends, joined))
    const left = before.flatMap(pool => this.#removePool(pool))
    if (after.length > 0) this.#pools.set(key, after)
    else this.#pools.delete(key)
    return { joined, left }
  }

  #pool(service: ServiceKey, sendProxy: boolean, backends: readonly Backend[], joined: WatchedBackend[]): Pool {
    const watched = backends.map(backend => {
      const known = this.#current.get(backend.destination)
      if (known) {
        known.pod = backend.pod
        if (!backend.remote && !known.local) assign(known, backend)
        return known
      }
      const added = this.#watch(backend)
      joined.push(added)
      return added
    })
    const alone: Pool[] = []
    const pool = { service, sendProxy, watched, alone }
    alone.push(pool)
    for (const member of watched) member.pools = member.pools.length === 0 ? alone : [...member.pools, pool]
    return pool
  }

  #watch(backend: Backend): WatchedBackend {
    const { key: name, destination: key, network, address, port, protocol, health } = backend
    const watched: WatchedBackend = this.#recent.get(key) ?? {
      key,
      name,
      network,
      address,
      port,
      protocol,
      cluster: backend.cluster,
      local: !backend.remote,
      pod: backend.pod,
      pools: none,
      target: undefined,
      outlier: undefined,
      since: 0,
      untested: false,
      shown: health,
      lastError: undefined,
    }
    watched.shown = health
    if (health === 'down') this.#down++
    watched.since = Math.round(this.#clock.now())
    watched.untested = false
    watched.pod = backend.pod
    assign(watched, backend)
    this.#recent.delete(key)
    this.#current.set(key, watched)
    if (protocol === 'UDP') {
      const others = this.#datagrams.get(address)
      if (others) others.add(watched)
      else this.#datagrams.set(address, new Set([watched]))
    }
    return watched
  }

  #removePool(pool: Pool): WatchedBackend[] {
    const left: WatchedBackend[] = []
    for (const watched of pool.watched) {
      watched.pools = without(watched.pools, pool)
      if (watched.pools.length > 0 || !this.#current.delete(watched.key)) continue
      if (watched.shown === 'down') this.#down--
      const others = this.#datagrams.get(watched.address)
      if (others?.delete(watched) && others.size === 0) this.#datagrams.delete(watched.address)
      this.#recent.set(watched.key, watched)
      left.push(watched)
    }
    return left
  }
}

const none: readonly Pool[] = []

function without(pools: readonly Pool[], pool: Pool): readonly Pool[] {
  const left = pools.filter(each => each !== pool)
  const [first] = left
  return left.length > 1 ? left : (first?.alone ?? none)
}

function assign(watched: WatchedBackend, { cluster, remote }: Backend): void {
  watched.cluster = cluster
  watched.local = !remote
}

/** The backends of a frontend that may get new flows. */
function reachable(frontend: Frontend): readonly Backend[] {
  return frontend.backends.filter(backend => backend.serving && backend.state !== 'maintenance')
}

/** Most changes of a service are changes of health, which do not change its pools. */
function samePools(pools: readonly Pool[], lists: readonly (readonly Backend[])[], sendProxy: boolean): boolean {
  return (
    pools.length === lists.length &&
    pools.every((pool, i) => pool.sendProxy === sendProxy && sameKeys(pool.watched, lists[i] ?? []))
  )
}

function sameKeys(watched: readonly WatchedBackend[], backends: readonly Backend[]): boolean {
  return (
    watched.length === backends.length &&
    watched.every((one, i) => {
      const backend = backends[i]
      if (backend === undefined || one.key !== backend.destination || one.pod !== backend.pod) return false
      // One that other services have too may be another cluster's there.
      return one.cluster === backend.cluster || one.pools.length > 1
    })
  )
}
