/** The `Host` of one plugin: clusters, clock, log, bounded tables and counters. */
import { LRUCache } from 'lru-cache'
import type { Cluster } from '../model/cluster.ts'
import { growing } from '../model/limits/growing.ts'
import type { Location } from '../model/location.ts'
import type { Log } from '../model/log.ts'
import type { PluginCounter } from '../model/stats/plugin.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import type { Workloads } from '../model/workloads/workloads.ts'
import type { Counter, Host, Table } from '../plugin.ts'

/** What the hosts of all plugins share. */
export interface HostParts {
  /** All clusters of the mesh; the same array until the configuration changes. */
  readonly clusters: () => readonly Cluster[]
  /** Where Starlane runs; nothing is known of it by default. */
  readonly location?: () => Location
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Nothing is known by default. */
  readonly workloads?: Workloads
  /** For copies of plugins in a rehearsal; false by default. */
  readonly rehearses?: boolean
}

/** A host, and what the plugin has asked of it. */
export interface PluginHost {
  readonly host: Host
  /** The counters that it has created, with their values. */
  readonly counters: () => readonly PluginCounter[]
  /** Whether it needs Pods and policies. */
  readonly usesWorkloads: () => boolean
}

/** Sets of values of labelled counters. */
const maxLabelSets = 1000

export function createHost(plugin: string, parts: HostParts): PluginHost {
  const tables = new Set<string>()
  const counters = new Map<string, { name: string; help: string; labels: PluginCounter['labels']; counter: Counter }>()
  let usesWorkloads = false
  let local = localCluster(parts.clusters())
  const host: Host = Object.freeze({
    name: plugin,
    get cluster() {
      if (local.among !== parts.clusters()) local = localCluster(parts.clusters())
      return local.cluster
    },
    get clusters() {
      return parts.clusters()
    },
    get location() {
      return parts.location?.() ?? nowhere
    },
    rehearses: parts.rehearses ?? false,
    clock: parts.clock,
    random: parts.random,
    log: withPlugin(plugin, parts.log),
    table: <V extends {}>(name: string, limit: { readonly max: number; readonly idleMs?: number }): Table<V> => {
      if (tables.has(name)) throw new TypeError(`table "${name}" exists already; keep a reference to it`)
      tables.add(name)
      return new BoundedTable<V>(limit, parts.clock)
    },
    counter: (name: string, help: string, labels?: Readonly<Record<string, string>>): Counter => {
      for (const each of [name, ...Object.keys(labels ?? {})]) {
        if (!/^[a-z][a-z0-9_]*$/.test(each))
          throw new TypeError(`counter "${each}": use a name of [a-z0-9_], starting with a letter`)
      }
      const isFull = labels !== undefined && counters.size >= maxLabelSets && !counters.has(counterKey(name, labels))
      const used = isFull ? Object.fromEntries(Object.keys(labels).map(label => [label, 'other'])) : labels
      const key = counterKey(name, used)
      const known = counters.get(key)
      if (known) return known.counter
      const counter = new PlainCounter()
      counters.set(key, { name, help, labels: used, counter })
      return counter
    },
    workloads: () => {
      usesWorkloads = true
      return parts.workloads ?? nobody
    },
  })
  return {
    host,
    counters: () =>
      [...counters.values()].map(({ name, help, labels, counter }) => ({
        metric: `starlane_plugin_${plugin.replaceAll('-', '_')}_${name}_total`,
        help,
        ...(labels && { labels }),
        value: counter.value,
      })),
    usesWorkloads: () => usesWorkloads,
  }
}

function counterKey(name: string, labels: PluginCounter['labels']): string {
  return labels ? `${name} ${JSON.stringify(labels)}` : name
}

const nobody: Workloads = Object.freeze({
  at: () => undefined,
  addressesOf: () => [],
  examples: () => [],
  policies: () => [],
  size: { addresses: 0, policies: 0 },
  onChange: () => () => {},
  watchNames: () => () => {},
})

const nowhere: Location = Object.freeze({})

function localCluster(clusters: readonly Cluster[]): { among: readonly Cluster[]; cluster: Cluster } {
  const cluster = clusters.find(({ local }) => local)
  if (!cluster) throw new TypeError('one of the clusters must be the local one')
  return { among: clusters, cluster }
}

function withPlugin(plugin: string, log: Log): Log {
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
    if (!Number.isInteger(max) || max < 1)
      throw new TypeError(`the max of a table must be an integer from 1, not ${max}`)
    this.#cache = new LRUCache<string, V>({
      ...growing(max),
      ...(idleMs === undefined
        ? {}
        : {
            ttl: idleMs,
            updateAgeOnGet: true,
            // Reads the clock on each access. The cache takes the time 0 for "not set", so it never gets one.
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
