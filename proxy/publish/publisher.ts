import { randomUUID } from 'node:crypto'
import { canariesPrefix } from '../clients/clustermesh.ts'
import { viewName, viewsOf } from '../model/cluster.ts'
import { MeshError, messageOf, type Problem } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import { type ClusterService, serviceKey } from '../model/service.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import type { Volume } from './cluster-keys.ts'
import { Copies } from './copies.ts'
import { Edition } from './export.ts'
import { Tenure } from './leadership.ts'
import type { Store } from './store.ts'

export interface PublisherOptions {
  /** The local cluster, as the mesh knows it. */
  readonly cluster: string
  readonly clusterId: number
  /** Also as endpoint slices (Cilium 1.20), which carry conditions, nodes and weights. */
  readonly slices: boolean
  /** How long everything stays when no publisher is left; Cilium's is 15 minutes. */
  readonly leaseMs: number
  /** Requests to etcd in a second at most, each with up to 100 keys. */
  readonly writesPerSecond: number
  /** How long a publisher that has fallen silent keeps the others waiting; 25 s. */
  readonly lockMs?: number
  /** Tenants, each with what it may have: they read a cluster of its own in which there is nothing else. */
  readonly tenants?: ReadonlyMap<string, (service: ClusterService) => boolean>
  /** Whether other clusters are copied too, and how long the services of a silent one stay; 0 is for ever. */
  readonly cache?: { readonly ttlMs: number } | undefined
}

export interface PublisherParts {
  /** A connection to the etcd of the mesh. Rejects with the reason in words. */
  readonly open: (signal: AbortSignal) => Promise<Store>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** `standby`: another publisher of the same cluster is at work. Times are wall-clock milliseconds. */
export type PublisherState = Standing & {
  readonly since: number
  readonly services: number
  /** Keys that are still to be written, of all that is published or copied. */
  readonly pending: number
  /** The etcd that it is, or was last, connected to. */
  readonly store: string | undefined
}

type Standing =
  | { readonly state: 'connecting' | 'standby' | 'publishing' }
  | { readonly state: 'lost'; readonly error: MeshError }

/** Writes the local cluster's shared global services into the etcd of a ClusterMesh: the part of clustermesh-apiserver. */
export interface Publisher {
  start(): void
  /** All services that the other clusters may have; whatever else stands there of this cluster is deleted. */
  reset(services: readonly ClusterService[]): void
  /** A service that is global, shared and in a global namespace. */
  put(service: ClusterService): void
  /** It is no longer all of that: its keys are deleted. */
  drop(namespace: string, name: string): void
  state(): PublisherState
  problems(): readonly Problem[]
  /** The other clusters that are copied; only those that stand in the store for nobody, when that is not asked for. */
  readonly copies: Copies
  /** Makes room for another publisher. What is written stays for it, until the lease runs out. */
  close(): Promise<void>
}

const firstRetryMs = 1000
const longestRetryMs = 30_000
export function createPublisher(options: PublisherOptions, parts: PublisherParts): Publisher {
  return new EtcdPublisher(options, parts)
}

class EtcdPublisher implements Publisher {
  readonly copies: Copies
  #options: PublisherOptions
  #parts: PublisherParts
  #whole: Edition
  #editions: readonly Edition[]
  #holder = randomUUID()
  #closing = new AbortController()
  #tenure: Tenure | undefined
  #store: string | undefined
  #running: Promise<void> = Promise.resolve()
  #failures = 0
  #standing: Standing = { state: 'connecting' }
  #since: number
  #stopRetry: () => void = () => {}

  constructor(options: PublisherOptions, parts: PublisherParts) {
    this.#options = options
    this.#parts = parts
    this.#since = parts.clock.wall()
    const { cluster, clusterId, slices, tenants = new Map(), cache } = options
    this.#whole = new Edition({ cluster, clusterId, slices })
    const views = [...tenants].map(([tenant, admits]) => {
      return new Edition({ cluster: viewName(cluster, tenant), clusterId, slices, cached: true }, admits)
    })
    this.#editions = [this.#whole, ...views]
    this.copies = new Copies({ ttlMs: cache?.ttlMs ?? 0, clock: parts.clock, changed: () => this.#tenure?.wake() })
  }

  start(): void {
    this.#running = this.#publish()
  }

  reset(services: readonly ClusterService[]): void {
    for (const edition of this.#editions) edition.reset(services)
    this.#tenure?.wake()
  }

  put(service: ClusterService): void {
    for (const edition of this.#editions) edition.want(service)
    this.#tenure?.wake()
  }

  drop(namespace: string, name: string): void {
    for (const edition of this.#editions) edition.unwant(serviceKey(namespace, name))
    this.#tenure?.wake()
  }

  state(): PublisherState {
    const pending = this.#volumes().reduce((sum, volume) => sum + volume.pending, 0)
    return { ...this.#standing, since: this.#since, services: this.#whole.services, pending, store: this.#store }
  }

  problems(): readonly Problem[] {
    return [...this.#whole.problems, ...this.copies.problems]
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#stopRetry()
    this.copies.close()
    await this.#tenure?.resign()
    await this.#running
  }

  #volumes(): Volume[] {
    this.copies.sweep()
    return [...this.#editions.map(({ volume }) => volume), ...this.copies.volumes]
  }

  /** Clusters in the store that are neither this one, nor a view of it, nor copied: left behind by another configuration. */
  #discovered(clusters: readonly string[]): void {
    const own = new Set(this.#editions.map(({ volume }) => volume.cluster))
    this.copies.discovered(clusters.filter(cluster => !own.has(cluster)))
  }

  async #publish(): Promise<void> {
    const { open, clock, log } = this.#parts
    const { signal } = this.#closing
    try {
      const store = await open(signal)
      if (signal.aborted) return store.close()
      this.#store = store.clusterId
      this.#tenure = new Tenure(store, {
        cluster: this.#options.cluster,
        leaseMs: this.#options.leaseMs,
        volumes: () => this.#volumes(),
        discovery: {
          prefix: `${canariesPrefix}${this.#options.cache ? '' : viewsOf(this.#options.cluster)}`,
          found: clusters => this.#discovered(clusters),
        },
        holder: this.#holder,
        lockMs: this.#options.lockMs ?? 25_000,
        paceMs: 1000 / this.#options.writesPerSecond,
        clock,
        became: state => this.#became(state),
      })
      await this.#tenure.run()
    } catch (error) {
      this.#tenure = undefined
      if (signal.aborted) return
      const why = new MeshError('PUBLISH', `${this.#options.cluster} is not published: ${messageOf(error)}`, {
        cause: error,
      })
      if (this.#standing.state !== 'lost') log.warn('publish.lost', { why: why.message })
      this.#set({ state: 'lost', error: why })
      this.#retry()
    }
  }

  #retry(): void {
    const { clock, random } = this.#parts
    const longest = Math.min(longestRetryMs, firstRetryMs * 2 ** this.#failures++)
    this.#stopRetry = clock.after(longest * (0.5 + random() / 2), () => this.start())
  }

  #became(state: 'standby' | 'publishing'): void {
    this.#failures = 0
    if (this.#standing.state === state) return
    this.#parts.log.info(`publish.${state}`, { cluster: this.#options.cluster })
    this.#set({ state })
  }

  #set(standing: Standing): void {
    if (standing.state !== this.#standing.state) this.#since = this.#parts.clock.wall()
    this.#standing = standing
  }
}
