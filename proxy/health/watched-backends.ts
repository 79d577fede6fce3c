/**
 * The backends that health watches: all that new flows can reach through a frontend of a proxied service. Follows the
 * directory change by change, and keeps backends that left for five minutes.
 */
import { LRUCache } from 'lru-cache'
import type { Backend, Backends, Health } from '../model/backend.ts'
import { deltaOfPart, type ServiceChange } from '../model/directory.ts'
import { growing } from '../model/limits/growing.ts'
import { filtered } from '../model/lists/filtered.ts'
import { LargeMap } from '../model/lists/large-map.ts'
import { MultiMap } from '../model/lists/multi-map.ts'
import { namesIn } from '../model/lists/names-in.ts'
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
  readonly #current = new LargeMap<WatchedBackend>()
  readonly #recent: LRUCache<string, WatchedBackend>
  readonly #pools = new Map<ServiceKey, readonly KnownPool[]>()
  /** Those of UDP, by address: checks of TCP tell of them that their host is silent. */
  readonly #datagrams = new MultiMap<WatchedBackend>()
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
    const found = this.#datagrams.get(address).filter(({ backend }) => backend.network === network)
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
  replace(change: ServiceChange): WatchedChange {
    const { key, after: service } = change
    const before = this.#pools.get(key) ?? nobody
    const frontends = service && this.#watches(service) ? service.frontends : nobody
    const sendProxy = service?.settings.sendProxy === true
    const isSame = before.length === frontends.length && before.every(({ pool }) => pool.sendProxy === sendProxy)
    if (isSame) return this.#adjust(change, before, frontends)

    // Backends that stay are added to the new pool before they leave the old one, so they never count as gone.
    const joined: WatchedBackend[] = []
    const after = frontends.map(({ backends }) => {
      const pool = newPool(key, sendProxy)
      for (const backend of backends) if (isReachable(backend)) this.#join(pool, backend, joined)
      return { pool, backends }
    })
    const left = before.flatMap(({ pool }) =>
      pool.watched.splice(0).flatMap(watched => this.#leave(pool, watched) ?? []),
    )
    if (after.length > 0) this.#pools.set(key, after)
    else this.#pools.delete(key)
    return { joined, left }
  }

  /** Most changes are of a few backends, or of their health alone: the pools stay, and those join and leave that have come and gone. */
  #adjust(change: ServiceChange, known: readonly KnownPool[], frontends: readonly Frontend[]): WatchedChange {
    const joined: WatchedBackend[] = []
    const leaving: [Pool, WatchedBackend][] = []
    for (const [i, one] of known.entries()) {
      const { backends } = frontends[i] as Frontend
      const { gone, come } = deltaOfPart(change, one.backends, backends)
      one.backends = backends
      const reachable = filtered(come, isReachable)
      for (const backend of reachable) this.#join(one.pool, backend, joined)
      const stays = namesIn(reachable, ({ destination }) => destination)
      for (const { destination } of gone) {
        const watched = stays(destination) ? undefined : this.#current.get(destination)
        const place = watched ? one.pool.watched.indexOf(watched) : -1
        if (!watched || place === -1) continue
        one.pool.watched.splice(place, 1)
        leaving.push([one.pool, watched])
      }
    }
    const left = leaving.flatMap(([pool, watched]) => this.#leave(pool, watched) ?? [])
    return joined.length + left.length === 0 ? unchanged : { joined, left }
  }

  /** Adds a backend to a pool, or notes what has changed of one that is in it. */
  #join(pool: MutablePool, backend: Backend, joined: WatchedBackend[]): void {
    let watched = this.#current.get(backend.destination)
    if (watched) {
      if (isOf(watched.backend, backend)) watched.backend = backend
      if (watched.pools.includes(pool)) return
    } else {
      watched = this.#watch(backend)
      joined.push(watched)
    }
    pool.watched.push(watched)
    watched.pools = watched.pools.length === 0 ? pool.alone : [...watched.pools, pool]
  }

  #watch(backend: Backend): WatchedBackend {
    const { destination: key, address, protocol, health } = backend
    const watched: WatchedBackend = this.#recent.get(key) ?? {
      key,
      backend,
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
    watched.backend = backend
    this.#recent.delete(key)
    this.#current.set(key, watched)
    if (protocol === 'UDP') this.#datagrams.add(address, watched)
    return watched
  }

  /** It is not in the pool any more. Returns it if it is in no other. */
  #leave(pool: Pool, watched: WatchedBackend): WatchedBackend | undefined {
    watched.pools = without(watched.pools, pool)
    if (watched.pools.length > 0 || !this.#current.delete(watched.key)) return undefined
    if (watched.shown === 'down') this.#down--
    this.#datagrams.delete(watched.backend.address, watched)
    this.#recent.set(watched.key, watched)
    return watched
  }
}

const none: readonly Pool[] = []

function without(pools: readonly Pool[], pool: Pool): readonly Pool[] {
  const left = pools.filter(each => each !== pool)
  const [first] = left
  return left.length > 1 ? left : (first?.alone ?? none)
}

/** Whether the later state of a destination is to be known for it: another cluster's is only where that is the local one. */
function isOf(before: Backend, { cluster, remote }: Backend): boolean {
  return cluster === before.cluster || (!remote && before.remote)
}

/** Whether it may get new flows. */
function isReachable({ serving, state }: Backend): boolean {
  return serving && state !== 'maintenance'
}

interface MutablePool extends Pool {
  readonly watched: WatchedBackend[]
}

/** The pool of a frontend, and the backends that the frontend had. */
interface KnownPool {
  readonly pool: MutablePool
  backends: Backends
}

const nobody: readonly never[] = []

function newPool(service: ServiceKey, sendProxy: boolean): MutablePool {
  const alone: Pool[] = []
  const pool = { service, sendProxy, watched: [], alone }
  alone.push(pool)
  return pool
}
