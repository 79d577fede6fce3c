/** Publishes the local cluster into the etcd of a mesh, as clustermesh-apiserver does; connects, and reconnects. */
import { randomUUID } from 'node:crypto'
import { canariesPrefix, heartbeatKey } from '../clients/clustermesh.ts'
import type { EtcdStore } from '../clients/etcd/client.ts'
import { type StoreIdentity, storeIdentity } from '../clients/etcd/session.ts'
import { viewName, viewsOf } from '../model/cluster.ts'
import { MeshError, messageOf, type Problem } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import { type ClusterService, serviceKey } from '../model/service.ts'
import { Backoff } from '../model/time/backoff.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import type { ClusterKeys } from './cluster-keys.ts'
import { Copies } from './copies.ts'
import { Export } from './export.ts'
import { Leadership } from './leadership.ts'

export interface PublisherOptions {
  /** The local cluster's name in the mesh. */
  readonly cluster: string
  readonly clusterId: number
  /** The size of the mesh: 255, the default, or 511. */
  readonly maxClusters?: number
  /** Also write endpoint slices (Cilium 1.20), which have conditions, nodes and weights. */
  readonly slices: boolean
  /** How long the data stays when no publisher is left; 15 minutes in Cilium. */
  readonly leaseMs: number
  /** Most write requests to etcd per second, each with up to 100 keys. */
  readonly writesPerSecond: number
  /** How long the lock of a publisher that stopped is held; 25 s. */
  readonly lockMs?: number
  /** For each tenant, which services it may read: it has a view of its own with nothing else in it. */
  readonly tenants?: ReadonlyMap<string, (service: ClusterService) => boolean>
  /** The cluster-config is written once `setGateways` has been called: an earlier one would take the gateways away from readers. */
  readonly awaitGateways?: boolean
  /** Copy other clusters too; `ttlMs`: how long the services of a lost one are kept, 0 is for ever. */
  readonly cache?: { readonly ttlMs: number } | undefined
}

export interface PublisherParts {
  /** Connects to the etcd of the mesh. */
  readonly open: (signal: AbortSignal) => Promise<EtcdStore>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** `standby`: another publisher of the same cluster holds the lock. Times are wall-clock milliseconds. */
export type PublisherState = PublisherPhase & {
  readonly since: number
  readonly services: number
  /** Keys still to be written, published and copied ones. */
  readonly pending: number
  /** The etcd it is, or was last, connected to; undefined until its heartbeat has been read. */
  readonly store: StoreIdentity | undefined
}

type PublisherPhase =
  | { readonly state: 'connecting' | 'standby' | 'publishing' }
  | { readonly state: 'lost'; readonly error: MeshError }

export interface Publisher {
  start(): void
  /** Sets all shared services; other stored services of this cluster are deleted. */
  reset(services: readonly ClusterService[]): void
  /** A service that is global, shared and in a global namespace. */
  put(service: ClusterService): void
  /** The service is not shared any more: its keys are deleted. */
  drop(namespace: string, name: string): void
  /** Where the cluster's gateways are reached; written into its cluster-config. */
  setGateways(gateways: readonly string[]): void
  /** The certificates have changed: connects again, at once, and keeps the lock. */
  reconnect(): void
  state(): PublisherState
  problems(): readonly Problem[]
  /** The copied clusters. Without `cache`, only leftovers in the store that are being removed. */
  readonly copies: Copies
  /** Releases the lock for another publisher. The data stays until its lease expires. */
  close(): Promise<void>
}

export function createPublisher(options: PublisherOptions, parts: PublisherParts): Publisher {
  return new EtcdPublisher(options, parts)
}

class EtcdPublisher implements Publisher {
  readonly copies: Copies
  #options: PublisherOptions
  #parts: PublisherParts
  #full: Export
  #exports: readonly Export[]
  #holder = randomUUID()
  #closing = new AbortController()
  #leadership: Leadership | undefined
  #store: StoreIdentity | undefined
  #running: Promise<void> = Promise.resolve()
  #backoff: Backoff
  #phase: PublisherPhase = { state: 'connecting' }
  #since: number
  #stopRetry: (() => void) | undefined
  /** The connection, or the one that is being made, has certificates that have changed. */
  #isOutdated = false

  constructor(options: PublisherOptions, parts: PublisherParts) {
    this.#options = options
    this.#parts = parts
    this.#since = parts.clock.wall()
    this.#backoff = new Backoff(parts.random)
    const { cluster, clusterId, maxClusters, slices, tenants = new Map(), cache, awaitGateways = false } = options
    const shared = { clusterId, maxClusters, slices, awaitGateways }
    this.#full = new Export({ cluster, ...shared })
    const views = [...tenants].map(([tenant, admits]) => {
      return new Export({ cluster: viewName(cluster, tenant), ...shared, cached: true }, admits)
    })
    this.#exports = [this.#full, ...views]
    this.copies = new Copies({ ttlMs: cache?.ttlMs ?? 0, clock: parts.clock, changed: () => this.#leadership?.wake() })
  }

  start(): void {
    this.#running = this.#publish()
  }

  reset(services: readonly ClusterService[]): void {
    for (const each of this.#exports) each.reset(services)
    this.#leadership?.wake()
  }

  put(service: ClusterService): void {
    for (const each of this.#exports) each.set(service)
    this.#leadership?.wake()
  }

  drop(namespace: string, name: string): void {
    for (const each of this.#exports) each.delete(serviceKey(namespace, name))
    this.#leadership?.wake()
  }

  setGateways(gateways: readonly string[]): void {
    for (const each of this.#exports) each.setGateways(gateways)
    this.#leadership?.wake()
  }

  reconnect(): void {
    if (this.#closing.signal.aborted) return
    this.#parts.log.info('publish.reconfigured', { cluster: this.#options.cluster })
    this.#isOutdated = true
    this.#leadership?.disconnect()
    if (!this.#stopRetry) return
    this.#stopRetry()
    this.#stopRetry = undefined
    this.start()
  }

  state(): PublisherState {
    const pending = this.#clusters().reduce((sum, keys) => sum + keys.pending, 0)
    return { ...this.#phase, since: this.#since, services: this.#full.services, pending, store: this.#store }
  }

  problems(): readonly Problem[] {
    return [...this.#full.problems, ...this.copies.problems]
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#stopRetry?.()
    this.copies.close()
    await this.#leadership?.resign()
    await this.#running
  }

  #clusters(): ClusterKeys[] {
    this.copies.sweep()
    return [...this.#exports.map(({ keys }) => keys), ...this.copies.clusters]
  }

  /** Clusters in the store other than this one and its views: those not copied are left over from another configuration. */
  #discovered(clusters: readonly string[]): void {
    const own = new Set(this.#exports.map(({ keys }) => keys.cluster))
    this.copies.discovered(clusters.filter(cluster => !own.has(cluster)))
  }

  async #publish(): Promise<void> {
    const { open, clock, log } = this.#parts
    const { signal } = this.#closing
    this.#isOutdated = false
    try {
      const store = await open(signal)
      if (signal.aborted) return store.close()
      if (this.#isOutdated) {
        store.close()
        return this.start()
      }
      this.#leadership = new Leadership(store, {
        cluster: this.#options.cluster,
        leaseMs: this.#options.leaseMs,
        clusters: () => this.#clusters(),
        discovery: {
          prefix: `${canariesPrefix}${this.#options.cache ? '' : viewsOf(this.#options.cluster)}`,
          found: clusters => this.#discovered(clusters),
        },
        holder: this.#holder,
        lockMs: this.#options.lockMs ?? 25_000,
        paceMs: 1000 / this.#options.writesPerSecond,
        clock,
        became: state => {
          void this.#identify(store)
          this.#became(state)
        },
      })
      await this.#leadership.run()
    } catch (error) {
      this.#leadership = undefined
      if (signal.aborted) return
      if (this.#isOutdated) return this.start()
      const why = new MeshError('PUBLISH', `${this.#options.cluster} is not published: ${messageOf(error)}`, {
        cause: error,
      })
      if (this.#phase.state !== 'lost') log.warn('publish.lost', { why: why.message })
      this.#set({ state: 'lost', error: why })
      this.#retry()
    }
  }

  async #identify(store: EtcdStore): Promise<void> {
    try {
      const heartbeat = await store.get(heartbeatKey)
      if (heartbeat) this.#store = storeIdentity(store.clusterId, heartbeat)
    } catch {
      // The connection has ended; the next one asks again.
    }
  }

  #retry(): void {
    this.#stopRetry = this.#parts.clock.after(this.#backoff.next(), () => {
      this.#stopRetry = undefined
      this.start()
    })
  }

  #became(state: 'standby' | 'publishing'): void {
    this.#backoff.succeeded()
    if (this.#phase.state === state) return
    this.#parts.log.info(state === 'publishing' ? 'publish.leading' : 'publish.standby', {
      cluster: this.#options.cluster,
    })
    this.#set({ state })
  }

  #set(phase: PublisherPhase): void {
    if (phase.state !== this.#phase.state) this.#since = this.#parts.clock.wall()
    this.#phase = phase
  }
}
