/** What one cluster's source last reported, and the state of its link. */
import type { Cluster, Link } from '../model/cluster.ts'
import { overLimitsText } from '../model/cluster.ts'
import { MeshError, type Problem } from '../model/error.ts'
import { type ClusterService, type Namespace, type ServiceKey, serviceKey } from '../model/service.ts'
import type { Clock } from '../model/time/clock.ts'
import { type DecodedSettings, decodeSettings } from './settings.ts'

/** A service with its annotations decoded. */
export interface DecodedService {
  readonly service: ClusterService
  readonly decoded: DecodedSettings
}

export interface ClusterStateOptions {
  readonly clock: Clock
  /** How long the services of a lost cluster are kept; 0 is for ever. Those of the local cluster are always kept. */
  readonly staleAfterMs: number
  /** The configured clusters, to report annotations that name another one. */
  readonly clusterNames: () => readonly string[]
  /** Called with the services that may have changed; `linkChanged` when the state of the link changed. */
  readonly changed: (keys: Iterable<ServiceKey>) => void
  readonly linkChanged: (link: Link) => void
}

/** A source writes it, the merge reads it. A lost cluster keeps its services until it is stale. */
export class ClusterState {
  readonly cluster: Cluster
  /** With more, what the cluster had before stays, and the cluster is lost. */
  maxEndpoints = Number.POSITIVE_INFINITY
  #options: ClusterStateOptions
  #entries = new Map<ServiceKey, DecodedService>()
  #keysByNamespace = new Map<string, Set<ServiceKey>>()
  #namespaces = new Map<string, Namespace>()
  /** All services as the source has them, while they are too many to be used. */
  #refused: Map<ServiceKey, ClusterService> | undefined
  /** Endpoints as the source has them. */
  #endpoints = 0
  #link: Link
  #hasSynced = false
  #changedAt: number | undefined
  #problems: readonly Problem[] = []
  #cancelStale: () => void = () => {}
  /** When it goes stale, by the monotonic clock. */
  #staleAt = 0

  constructor(cluster: Cluster, options: ClusterStateOptions) {
    this.cluster = cluster
    this.#options = options
    this.#link = { state: 'syncing', since: options.clock.wall() }
  }

  get(key: ServiceKey): DecodedService | undefined {
    return this.#link.state === 'stale' ? undefined : this.#entries.get(key)
  }

  /** `staleAt` is computed on each call, since the wall clock may have jumped. */
  get link(): Link {
    const { clock } = this.#options
    if (this.#link.state !== 'lost' || this.#link.staleAt === undefined) return this.#link
    return { ...this.#link, staleAt: clock.wall() + this.#staleAt - clock.now() }
  }

  /** Whether a full list has ever arrived. */
  get hasSynced(): boolean {
    return this.#hasSynced
  }

  get size(): number {
    return this.#link.state === 'stale' ? 0 : this.#entries.size
  }

  /** When the source last reported a change, in wall-clock milliseconds. */
  get changedAt(): number | undefined {
    return this.#changedAt
  }

  entries(): Iterable<DecodedService> {
    return this.#link.state === 'stale' ? [] : this.#entries.values()
  }

  /** Problems reported by the source, and those of annotations. */
  problems(): Problem[] {
    const annotations = [...this.#entries.values()].flatMap(({ service, decoded }) =>
      decoded.faults.map((message): Problem => ({ code: 'SERVICE_ANNOTATION', where: placeOf(service), message })),
    )
    return [...this.#problems, ...annotations]
  }

  /** True also when only a service is in it: manifests often omit Namespace objects. */
  hasNamespace(name: string): boolean {
    return this.#namespaces.has(name) || this.#keysByNamespace.has(name)
  }

  /** Whether services of the namespace may be exported. One without the mark, or unknown, is as the cluster's default. */
  isGlobalNamespace(name: string): boolean {
    return this.#namespaces.get(name)?.global ?? this.cluster.globalNamespaces !== 'marked'
  }

  reset(services: readonly ClusterService[], namespaces: readonly Namespace[]): void {
    this.#endpoints = services.reduce((sum, { endpoints }) => sum + endpoints.length, 0)
    this.#namespaces = new Map(namespaces.map(namespace => [namespace.name, namespace]))
    if (this.#endpoints <= this.maxEndpoints) return this.#replace(services)
    this.#refused = new Map(services.map(service => [serviceKey(service.namespace, service.name), service]))
    this.#refuse()
  }

  put(service: ClusterService): void {
    const key = serviceKey(service.namespace, service.name)
    this.#endpoints += service.endpoints.length - this.#endpointsOf(key)
    if (this.#refused || this.#endpoints > this.maxEndpoints) this.#change(key, service)
    else this.#notify([this.#set(service)])
  }

  drop(namespace: string, name: string): void {
    const key = serviceKey(namespace, name)
    this.#endpoints -= this.#endpointsOf(key)
    if (this.#refused) return this.#change(key, undefined)
    if (!this.#entries.delete(key)) return
    const siblings = this.#keysByNamespace.get(namespace)
    siblings?.delete(key)
    if (siblings?.size === 0) this.#keysByNamespace.delete(namespace)
    this.#notify([key])
  }

  putNamespace(namespace: Namespace): void {
    const before = this.isGlobalNamespace(namespace.name)
    this.#namespaces.set(namespace.name, namespace)
    if (before !== this.isGlobalNamespace(namespace.name)) this.#notify(this.#keysOf(namespace.name))
  }

  dropNamespace(name: string): void {
    const before = this.isGlobalNamespace(name)
    this.#namespaces.delete(name)
    if (before !== this.isGlobalNamespace(name)) this.#notify(this.#keysOf(name))
  }

  setProblems(problems: readonly Problem[]): void {
    this.#problems = problems
  }

  /** Stale services count again: the source has kept following them, else it would reset. */
  live(): void {
    const before = this.#link.state
    if (!this.#hasSynced || this.#refused || before === 'live') return
    this.#cancelStale()
    this.#setLink({ state: 'live', since: this.#options.clock.wall() })
    if (before === 'stale') this.#options.changed(this.#entries.keys())
  }

  lost(error: MeshError): void {
    const { clock, staleAfterMs } = this.#options
    if (this.#link.state === 'stale') return
    if (this.#link.state === 'lost') return this.#setLink({ ...this.#link, error })
    const since = clock.wall()
    const canGoStale = staleAfterMs > 0 && !this.cluster.local && this.#hasSynced
    this.#setLink({ state: 'lost', since, error, ...(canGoStale ? { staleAt: since + staleAfterMs } : {}) })
    this.#staleAt = clock.now() + staleAfterMs
    if (canGoStale) this.#cancelStale = clock.after(staleAfterMs, () => this.#goStale(error))
  }

  close(): void {
    this.#cancelStale()
  }

  #replace(services: readonly ClusterService[]): void {
    this.#refused = undefined
    const before = [...this.#entries.keys()]
    this.#clear()
    for (const service of services) this.#set(service)
    this.#hasSynced = true
    this.live()
    this.#notify(new Set([...before, ...this.#entries.keys()]))
  }

  /** A change while the cluster is over its limit, or that takes it there. Below it again, all is used as it is then. */
  #change(key: ServiceKey, service: ClusterService | undefined): void {
    this.#refused ??= new Map([...this.#entries].map(([known, entry]) => [known, entry.service]))
    if (service) this.#refused.set(key, service)
    else this.#refused.delete(key)
    if (this.#endpoints <= this.maxEndpoints) this.#replace([...this.#refused.values()])
    else this.#refuse()
  }

  #refuse(): void {
    const found = `more than ${this.maxEndpoints} endpoints`
    this.lost(new MeshError('SOURCE_LIMIT', overLimitsText('endpoints', found)))
  }

  #endpointsOf(key: ServiceKey): number {
    const service = this.#refused ? this.#refused.get(key) : this.#entries.get(key)?.service
    return service?.endpoints.length ?? 0
  }

  /** The entries are kept, but hidden. */
  #goStale(error: MeshError): void {
    this.#setLink({ state: 'stale', since: this.#options.clock.wall(), error })
    this.#options.changed(this.#entries.keys())
  }

  #notify(keys: Iterable<ServiceKey>): void {
    this.#changedAt = this.#options.clock.wall()
    this.#options.changed(keys)
  }

  #setLink(link: Link): void {
    const changed = link.state !== this.#link.state
    this.#link = link
    if (changed) this.#options.linkChanged(link)
  }

  #set(service: ClusterService): ServiceKey {
    const key = serviceKey(service.namespace, service.name)
    this.#entries.set(key, { service, decoded: decodeSettings(service, this.#options.clusterNames()) })
    const siblings = this.#keysByNamespace.get(service.namespace)
    if (siblings) siblings.add(key)
    else this.#keysByNamespace.set(service.namespace, new Set([key]))
    return key
  }

  #clear(): void {
    this.#entries.clear()
    this.#keysByNamespace.clear()
  }

  #keysOf(namespace: string): Iterable<ServiceKey> {
    return this.#keysByNamespace.get(namespace) ?? []
  }
}

/** `cluster-1 default/rebel-base (services.yaml:12)` */
export function placeOf(service: ClusterService): string {
  const name = `${service.cluster} ${serviceKey(service.namespace, service.name)}`
  return service.origin === undefined ? name : `${name} (${service.origin})`
}
