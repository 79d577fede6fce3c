/**
 * Which backends health watches: all that new flows can reach through a frontend of a proxied service. Follows the
 * directory change by change, and remembers for some minutes those that left.
 */
import { LRUCache } from 'lru-cache'
import type { Backend } from '../model/backend.ts'
import type { Frontend, GlobalService, ServiceKey } from '../model/service.ts'
import type { Clock } from '../model/time/clock.ts'
import type { Pool, Watched } from './watched.ts'

// Long enough for a pod to restart at its address, or for a source to come back; short enough that an address which
// Kubernetes hands to another pod is seldom judged by its former owner.
const rememberMs = 5 * 60_000
const rememberAtMost = 10_000

export interface Turnover {
  readonly joined: readonly Watched[]
  readonly left: readonly Watched[]
}

const noTurnover: Turnover = { joined: [], left: [] }

export class Roster {
  readonly #watches: (service: GlobalService) => boolean
  readonly #present = new Map<string, Watched>()
  readonly #away: LRUCache<string, Watched>
  readonly #pools = new Map<ServiceKey, readonly Pool[]>()

  constructor(clock: Clock, watches: (service: GlobalService) => boolean) {
    this.#watches = watches
    // The cache takes a start at 0 for "no age", hence one more than the clock says.
    const perf = { now: () => clock.now() + 1 }
    this.#away = new LRUCache({ max: rememberAtMost, ttl: rememberMs, ttlResolution: 0, perf })
  }

  /** A backend that is in a pool now. */
  get(key: string): Watched | undefined {
    return this.#present.get(key)
  }

  /** Also one that left a short while ago. */
  recall(key: string): Watched | undefined {
    return this.#present.get(key) ?? this.#away.get(key)
  }

  get size(): number {
    return this.#present.size
  }

  get down(): number {
    let down = 0
    for (const { shown } of this.#present.values()) if (shown === 'down') down++
    return down
  }

  /** The service is new, was replaced, or is gone. */
  replace(key: ServiceKey, service: GlobalService | undefined): Turnover {
    const before = this.#pools.get(key) ?? []
    const lists = service && this.#watches(service) ? service.frontends.map(reachable) : []
    if (samePools(before, lists)) return noTurnover

    // Those that stay are in their new pool before they leave the old one, and so are never away in between.
    const joined: Watched[] = []
    const after = lists.map(backends => this.#pool(key, backends, joined))
    const left = before.flatMap(pool => this.#dissolve(pool))
    if (after.length > 0) this.#pools.set(key, after)
    else this.#pools.delete(key)
    return { joined, left }
  }

  #pool(service: ServiceKey, backends: readonly Backend[], joined: Watched[]): Pool {
    const watched = backends.map(backend => {
      const known = this.#present.get(backend.key)
      if (known) return known
      const newcomer = this.#welcome(backend)
      joined.push(newcomer)
      return newcomer
    })
    const pool = { service, watched }
    for (const member of watched) member.pools.add(pool)
    return pool
  }

  #welcome({ key, address, port, protocol, health }: Backend): Watched {
    const watched: Watched = this.#away.get(key) ?? {
      key,
      address,
      port,
      protocol,
      pools: new Set(),
      target: undefined,
      standing: undefined,
      shown: health,
    }
    watched.shown = health
    this.#away.delete(key)
    this.#present.set(key, watched)
    return watched
  }

  #dissolve(pool: Pool): Watched[] {
    const left: Watched[] = []
    for (const watched of pool.watched) {
      watched.pools.delete(pool)
      if (watched.pools.size > 0 || !this.#present.delete(watched.key)) continue
      this.#away.set(watched.key, watched)
      left.push(watched)
    }
    return left
  }
}

/** Those of a frontend's backends that may get a new flow; maintenance is not among a frontend's to begin with. */
function reachable(frontend: Frontend): readonly Backend[] {
  return frontend.backends.filter(backend => backend.serving && backend.state !== 'maintenance')
}

/** Most changes of a service are flips of health, which concern nobody here. */
function samePools(pools: readonly Pool[], lists: readonly (readonly Backend[])[]): boolean {
  return pools.length === lists.length && pools.every((pool, i) => sameKeys(pool.watched, lists[i] ?? []))
}

function sameKeys(watched: readonly Watched[], backends: readonly Backend[]): boolean {
  return watched.length === backends.length && watched.every((one, i) => one.key === backends[i]?.key)
}
