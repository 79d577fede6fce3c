import { LRUCache } from 'lru-cache'
import type { Cluster } from '../model/cluster.ts'
import type { Log } from '../model/log.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import type { Counter, Host, Table } from '../plugin.ts'

/** What all plugins of one Starlane share. */
export interface HostParts {
  /** All of the mesh as the configuration has it now; the same array until it changes. */
  readonly clusters: () => readonly Cluster[]
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** One counter of one plugin as the metrics page prints it. */
export interface CounterReading {
  /** `starlane_plugin_circuit_breaker_opened_total` */
  readonly metric: string
  readonly help: string
  readonly value: number
}

/** What one plugin may reach, and the other side of it: the counters it has made. */
export function createHost(
  plugin: string,
  parts: HostParts,
): { host: Host; counters: () => readonly CounterReading[] } {
  const tables = new Set<string>()
  const counters = new Map<string, { help: string; counter: Counter }>()
  let home = homeAmong(parts.clusters())
  const host: Host = Object.freeze({
    get cluster() {
      if (home.among !== parts.clusters()) home = homeAmong(parts.clusters())
      return home.cluster
    },
    get clusters() {
      return parts.clusters()
    },
    clock: parts.clock,
    random: parts.random,
    log: named(plugin, parts.log),
    table: <V extends {}>(name: string, limit: { readonly max: number; readonly idleMs?: number }): Table<V> => {
      if (tables.has(name)) throw new TypeError(`table "${name}" was made before; keep the first`)
      tables.add(name)
      return new BoundedTable<V>(limit, parts.clock)
    },
    counter: (name: string, help: string): Counter => {
      if (!/^[a-z][a-z0-9_]*$/.test(name)) throw new TypeError(`counter "${name}": write a name of [a-z0-9_]`)
      const known = counters.get(name)
      if (known) return known.counter
      const counter = new PlainCounter()
      counters.set(name, { help, counter })
      return counter
    },
  })
  return {
    host,
    counters: () =>
      [...counters].map(([name, { help, counter }]) => ({
        metric: `starlane_plugin_${plugin.replaceAll('-', '_')}_${name}_total`,
        help,
        value: counter.value,
      })),
  }
}

function homeAmong(clusters: readonly Cluster[]): { among: readonly Cluster[]; cluster: Cluster } {
  const cluster = clusters.find(({ local }) => local)
  if (!cluster) throw new TypeError('one of the clusters must be the local one')
  return { among: clusters, cluster }
}

function named(plugin: string, log: Log): Log {
  return {
    debug: (event, fields) => log.debug(event, { ...fields, plugin }),
    info: (event, fields) => log.info(event, { ...fields, plugin }),
    warn: (event, fields) => log.warn(event, { ...fields, plugin }),
    error: (event, fields) => log.error(event, { ...fields, plugin }),
  }
}

class PlainCounter implements Counter {
  value = 0

  add(count = 1): void {
    this.value += count
  }
}

class BoundedTable<V extends {}> implements Table<V> {
  #cache: LRUCache<string, V>

  constructor({ max, idleMs }: { readonly max: number; readonly idleMs?: number }, clock: Clock) {
    if (!Number.isInteger(max) || max < 1) throw new TypeError(`a table needs a max of 1 or more entries, not ${max}`)
    this.#cache = new LRUCache<string, V>({
      max,
      ...(idleMs === undefined
        ? {}
        : {
            ttl: idleMs,
            updateAgeOnGet: true,
            // Asks the clock each time, and never sees a 0, which the cache takes for "no time known".
            ttlResolution: 0,
            perf: { now: () => clock.now() + 1 },
          }),
    })
  }

  get(key: string): V | undefined {
    return this.#cache.get(key)
  }

  set(key: string, value: V): void {
    this.#cache.set(key, value)
  }

  delete(key: string): void {
    this.#cache.delete(key)
  }

  entries(): IterableIterator<[string, V]> {
    return this.#cache.entries()
  }

  get size(): number {
    this.#cache.purgeStale()
    return this.#cache.size
  }
}
