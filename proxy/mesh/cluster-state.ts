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
  /** The clusters that there were then. */
  readonly names: readonly string[]
}

/** Whether the settings of both are the same. */
function sameAnnotations(a: ClusterService, b: ClusterService): boolean {
  return (
    a.annotations === b.annotations &&
    a.sessionAffinity === b.sessionAffinity &&
    a.trafficDistribution === b.trafficDistribution &&
    (a.exported === undefined) === (b.exported === undefined)
  )
}

export interface ClusterStateOptions {
  readonly clock: Clock
  /** When a lost cluster is stale; 0: never. The local cluster never is. */
  readonly staleAfterMs: number
  /** When the services of a lost cluster are dropped, counted from the loss as well; 0: never. */
  readonly dropAfterMs: number
  /** The configured clusters, to report annotations that name another one. */
  readonly clusterNames: () => readonly string[]
  /** Called with the services that may have changed; `linkChanged` when the state of the link changed. */
  readonly changed: (keys: Iterable<ServiceKey>) => void
  readonly linkChanged: (link: Link) => void
}

/** A source writes it, the merge reads it. A lost cluster keeps its services until they are dropped. */
export class ClusterState {
  readonly cluster: Cluster
  /** With more, what the cluster had before stays, and the cluster is lost. */
  maxEndpoints = Number.POSITIVE_INFINITY
  #options: ClusterStateOptions
  #entries = new Map<ServiceKey, DecodedService>()
  #keysByNamespace = new Map<string, Set<ServiceKey>>()
  /** Services whose annotations have faults. */
  #faulty = new Set<ServiceKey>()
  #globals = 0
  #namespaces = new Map<string, Namespace>()
  /** All services as the source has them, while they are too many to be used. */
  #refused: Map<ServiceKey, ClusterService> | undefined
  /** Endpoints as the source has them. */
  #endpoints = 0
  #link: Link
  /** Its services are known: from its source, or from memory. */
  #isKnown = false
  #hasSynced = false
  #changedAt: number | undefined
  #problems: readonly Problem[] = []
  #cancelAging: () => void = () => {}
  /** When it was lost, by the monotonic clock. */
  #lostAt = 0

  constructor(cluster: Cluster, options: ClusterStateOptions) {
    this.cluster = cluster
    this.#options = options
    this.#link = { state: 'syncing', since: options.clock.wall() }
  }

  get(key: ServiceKey): DecodedService | undefined {
    return this.#link.state === 'dropped' ? undefined : this.#entries.get(key)
  }

  /** Its backends are used only where no other cluster has any. */
  get isDemoted(): boolean {
    return this.#link.state === 'stale'
  }

  /** `staleAt` and `dropAt` are computed on each call, since the wall clock may have jumped. */
  get link(): Link {
    const { clock, staleAfterMs, dropAfterMs } = this.#options
    const lostAt = clock.wall() + this.#lostAt - clock.now()
    const link = this.#link
    if (link.state === 'lost' || link.state === 'remembered') {
      return this.#ages && staleAfterMs > 0 ? { ...link, staleAt: lostAt + staleAfterMs } : link
    }
    return link.state === 'stale' && dropAfterMs > 0 ? { ...link, dropAt: lostAt + dropAfterMs } : link
  }

  /** Whether a full list has ever arrived from the source. */
  get hasSynced(): boolean {
    return this.#hasSynced
  }

  /** Whether its services are known, from its source or from memory. */
  get isKnown(): boolean {
    return this.#isKnown
  }

  get size(): number {
    return this.#link.state === 'dropped' ? 0 : this.#entries.size
  }

  /** When the source last reported a change, in wall-clock milliseconds. */
  get changedAt(): number | undefined {
    return this.#changedAt
  }

  /** How many of them are global. */
  get globalServices(): number {
    return this.#link.state === 'dropped' ? 0 : this.#globals
  }

  /** How many endpoints they have. */
  get endpoints(): number {
    if (this.#link.state === 'dropped') return 0
    if (!this.#refused) return this.#endpoints
    return [...this.#entries.values()].reduce((sum, { service }) => sum + service.endpoints.length, 0)
  }

  /** Whether the service is known, also while the cluster is dropped. */
  has(key: ServiceKey): boolean {
    return this.#entries.has(key)
  }

  keys(): Iterable<ServiceKey> {
    return this.#entries.keys()
  }

  entries(): Iterable<DecodedService> {
    return this.#link.state === 'dropped' ? [] : this.#entries.values()
  }

  /** Problems reported by the source, and those of annotations. */
  problems(): Problem[] {
    const annotations = [...this.#faulty].flatMap(key => {
      const entry = this.#entries.get(key)
      if (!entry) return []
      const where = placeOf(entry.service)
      return entry.decoded.faults.map((message): Problem => ({ code: 'SERVICE_ANNOTATION', where, message }))
    })
    return [...this.#problems, ...annotations]
  }

  /** The services of a namespace. */
  keysOf(namespace: string): Iterable<ServiceKey> {
    return this.#keysByNamespace.get(namespace) ?? []
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

  /** A reset whose services and namespaces have been put, and the others dropped. */
  complete(): void {
    this.#hasSynced = true
    this.#isKnown = true
    this.live()
    this.#notify([])
  }

  /** The state that was known at `since` (wall-clock milliseconds). False when it is too old, or the source has been faster. */
  recall(services: readonly ClusterService[], namespaces: readonly Namespace[], since: number): boolean {
    const { clock, dropAfterMs } = this.#options
    const ageMs = Math.max(0, clock.wall() - since)
    if (this.#isKnown || (!this.cluster.local && dropAfterMs > 0 && ageMs >= dropAfterMs)) return false
    const endpoints = services.reduce((sum, service) => sum + service.endpoints.length, 0)
    if (endpoints > this.maxEndpoints) return false
    this.#endpoints = endpoints
    this.#namespaces = new Map(namespaces.map(namespace => [namespace.name, namespace]))
    for (const service of services) this.#set(service)
    this.#isKnown = true
    this.#lostAt = clock.now() - ageMs
    this.#setLink({ state: 'remembered', since: clock.wall() - ageMs })
    this.#age()
    this.#options.changed(this.#entries.keys())
    return true
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
    if (!this.#forget(key)) return
    const siblings = this.#keysByNamespace.get(namespace)
    siblings?.delete(key)
    if (siblings?.size === 0) this.#keysByNamespace.delete(namespace)
    this.#notify([key])
  }

  putNamespace(namespace: Namespace): void {
    const before = this.isGlobalNamespace(namespace.name)
    this.#namespaces.set(namespace.name, namespace)
    if (before !== this.isGlobalNamespace(namespace.name)) this.#notify(this.keysOf(namespace.name))
  }

  dropNamespace(name: string): void {
    const before = this.isGlobalNamespace(name)
    this.#namespaces.delete(name)
    if (before !== this.isGlobalNamespace(name)) this.#notify(this.keysOf(name))
  }

  setProblems(problems: readonly Problem[]): void {
    this.#problems = problems
  }

  /** Services that were dropped or demoted count again: the source has kept following them, else it would reset. */
  live(): void {
    const before = this.#link.state
    if (!this.#hasSynced || this.#refused || before === 'live') return
    this.#cancelAging()
    this.#setLink({ state: 'live', since: this.#options.clock.wall() })
    if (before === 'stale' || before === 'dropped') this.#options.changed(this.#entries.keys())
  }

  lost(error: MeshError): void {
    const { clock } = this.#options
    const { state } = this.#link
    if (state === 'stale' || state === 'dropped') return
    if (state === 'lost' || state === 'remembered') return this.#setLink({ ...this.#link, error })
    this.#lostAt = clock.now()
    this.#setLink({ state: 'lost', since: clock.wall(), error })
    this.#age()
  }

  close(): void {
    this.#cancelAging()
  }

  #replace(services: readonly ClusterService[]): void {
    this.#refused = undefined
    const before = [...this.#entries.keys()]
    this.#clear()
    for (const service of services) this.#set(service)
    this.#hasSynced = true
    this.#isKnown = true
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

  get #ages(): boolean {
    return !this.cluster.local && this.#isKnown
  }

  /** Goes to the state that its loss is old enough for, and waits for the next one. The entries are kept. */
  #age(): void {
    this.#cancelAging()
    if (!this.#ages) return
    const { clock, staleAfterMs, dropAfterMs } = this.#options
    const lostMs = clock.now() - this.#lostAt
    const state =
      dropAfterMs > 0 && lostMs >= dropAfterMs
        ? 'dropped'
        : staleAfterMs > 0 && lostMs >= staleAfterMs
          ? 'stale'
          : undefined
    if (state !== undefined && state !== this.#link.state) {
      const error = ('error' in this.#link && this.#link.error) || neverAnswered
      this.#setLink({ state, since: clock.wall(), error })
      this.#options.changed(this.#entries.keys())
    }
    const next = [staleAfterMs, dropAfterMs].filter(ms => ms > lostMs)
    if (next.length > 0) this.#cancelAging = clock.after(Math.min(...next) - lostMs, () => this.#age())
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
    this.#uncount(key)
    const names = this.#options.clusterNames()
    const known = this.#entries.get(key)
    const isSame = known?.names === names && sameAnnotations(known.service, service)
    const decoded = isSame ? known.decoded : decodeSettings(service, names)
    this.#entries.set(key, { service, decoded, names })
    if (decoded.settings.global) this.#globals++
    if (decoded.faults.length > 0) this.#faulty.add(key)
    const siblings = this.#keysByNamespace.get(service.namespace)
    if (siblings) siblings.add(key)
    else this.#keysByNamespace.set(service.namespace, new Set([key]))
    return key
  }

  /** True if it was known. */
  #forget(key: ServiceKey): boolean {
    this.#uncount(key)
    return this.#entries.delete(key)
  }

  #uncount(key: ServiceKey): void {
    if (this.#entries.get(key)?.decoded.settings.global) this.#globals--
    this.#faulty.delete(key)
  }

  #clear(): void {
    this.#entries.clear()
    this.#faulty.clear()
    this.#globals = 0
    this.#keysByNamespace.clear()
  }
}

const neverAnswered = new MeshError('SOURCE_READ', 'the source has not answered since the start')

/** `cluster-1 default/rebel-base (services.yaml:12)` */
export function placeOf(service: ClusterService): string {
  const name = `${service.cluster} ${serviceKey(service.namespace, service.name)}`
  return service.origin === undefined ? name : `${name} (${service.origin})`
}
