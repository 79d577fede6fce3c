import type { Cluster, Link } from '../model/cluster.ts'
import type { MeshError, Problem } from '../model/error.ts'
import { type ClusterService, type Namespace, type ServiceKey, serviceKey } from '../model/service.ts'
import type { Clock } from '../model/time/clock.ts'
import { type Decoded, decodeSettings } from './settings.ts'

/** One service on a shelf with what its annotations mean, decoded when it is put there. */
export interface Entry {
  readonly service: ClusterService
  readonly decoded: Decoded
}

export interface ShelfOptions {
  readonly clock: Clock
  /** How long a lost cluster's services stay; 0 keeps them for ever. The local cluster's always stay. */
  readonly staleAfterMs: number
  /** For messages about annotations that name a cluster nobody knows. */
  readonly clusterNames: () => readonly string[]
  /** Called with the services that may look different now; `relinked` when the link itself changed. */
  readonly changed: (keys: Iterable<ServiceKey>) => void
  readonly relinked: (link: Link) => void
}

/**
 * What one cluster last said: a source writes it, merge reads it. Nothing is given up before a first full picture has
 * come, and a lost source keeps its services until they are stale.
 */
export class Shelf {
  readonly cluster: Cluster
  #options: ShelfOptions
  #entries = new Map<ServiceKey, Entry>()
  #keysByNamespace = new Map<string, Set<ServiceKey>>()
  #namespaces = new Map<string, Namespace>()
  #link: Link
  #delivered = false
  #changedAt: number | undefined
  #problems: readonly Problem[] = []
  #stopAging: () => void = () => {}
  /** When it goes stale, by the clock that only grows. */
  #staleAt = 0

  constructor(cluster: Cluster, options: ShelfOptions) {
    this.cluster = cluster
    this.#options = options
    this.#link = { state: 'syncing', since: options.clock.wall() }
  }

  get(key: ServiceKey): Entry | undefined {
    return this.#link.state === 'stale' ? undefined : this.#entries.get(key)
  }

  /** The date of its end is worked out when asked for: the wall clock may have jumped since. */
  get link(): Link {
    const { clock } = this.#options
    if (this.#link.state !== 'lost' || this.#link.staleAt === undefined) return this.#link
    return { ...this.#link, staleAt: clock.wall() + this.#staleAt - clock.now() }
  }

  /** Whether a full picture has ever come. */
  get delivered(): boolean {
    return this.#delivered
  }

  get size(): number {
    return this.#link.state === 'stale' ? 0 : this.#entries.size
  }

  /** Wall-clock milliseconds of the source's last news. */
  get changedAt(): number | undefined {
    return this.#changedAt
  }

  entries(): Iterable<Entry> {
    return this.#link.state === 'stale' ? [] : this.#entries.values()
  }

  /** The source's own, and those of the annotations. */
  problems(): Problem[] {
    const annotations = [...this.#entries.values()].flatMap(({ service, decoded }) =>
      decoded.faults.map((message): Problem => ({ code: 'SERVICE_ANNOTATION', where: placeOf(service), message })),
    )
    return [...this.#problems, ...annotations]
  }

  /** Declared, or implied by a service in it: manifests often leave the Namespace objects out. */
  hasNamespace(name: string): boolean {
    return this.#namespaces.has(name) || this.#keysByNamespace.has(name)
  }

  /** The export gate: a namespace nobody has spoken of is global (Cilium's default). */
  isGlobalNamespace(name: string): boolean {
    return this.#namespaces.get(name)?.global ?? true
  }

  reset(services: readonly ClusterService[], namespaces: readonly Namespace[]): void {
    const before = [...this.#entries.keys()]
    this.#clear()
    for (const service of services) this.#set(service)
    this.#namespaces = new Map(namespaces.map(namespace => [namespace.name, namespace]))
    this.#delivered = true
    this.live()
    this.#tell(new Set([...before, ...this.#entries.keys()]))
  }

  put(service: ClusterService): void {
    this.#tell([this.#set(service)])
  }

  drop(namespace: string, name: string): void {
    const key = serviceKey(namespace, name)
    if (!this.#entries.delete(key)) return
    const siblings = this.#keysByNamespace.get(namespace)
    siblings?.delete(key)
    if (siblings?.size === 0) this.#keysByNamespace.delete(namespace)
    this.#tell([key])
  }

  putNamespace(namespace: Namespace): void {
    const before = this.isGlobalNamespace(namespace.name)
    this.#namespaces.set(namespace.name, namespace)
    if (before !== namespace.global) this.#tell(this.#keysOf(namespace.name))
  }

  dropNamespace(name: string): void {
    const before = this.isGlobalNamespace(name)
    this.#namespaces.delete(name)
    if (!before) this.#tell(this.#keysOf(name))
  }

  setProblems(problems: readonly Problem[]): void {
    this.#problems = problems
  }

  /** What was given up as stale counts again: the source has followed it all the while, or would reset. */
  live(): void {
    const before = this.#link.state
    if (!this.#delivered || before === 'live') return
    this.#stopAging()
    this.#relink({ state: 'live', since: this.#options.clock.wall() })
    if (before === 'stale') this.#options.changed(this.#entries.keys())
  }

  lost(error: MeshError): void {
    const { clock, staleAfterMs } = this.#options
    if (this.#link.state === 'stale') return
    if (this.#link.state === 'lost') return this.#relink({ ...this.#link, error })
    const since = clock.wall()
    const ages = staleAfterMs > 0 && !this.cluster.local && this.#delivered
    this.#relink({ state: 'lost', since, error, ...(ages ? { staleAt: since + staleAfterMs } : {}) })
    this.#staleAt = clock.now() + staleAfterMs
    if (ages) this.#stopAging = clock.after(staleAfterMs, () => this.#giveUp(error))
  }

  close(): void {
    this.#stopAging()
  }

  /** The entries stay on the shelf, out of sight. */
  #giveUp(error: MeshError): void {
    this.#relink({ state: 'stale', since: this.#options.clock.wall(), error })
    this.#options.changed(this.#entries.keys())
  }

  #tell(keys: Iterable<ServiceKey>): void {
    this.#changedAt = this.#options.clock.wall()
    this.#options.changed(keys)
  }

  #relink(link: Link): void {
    const flipped = link.state !== this.#link.state
    this.#link = link
    if (flipped) this.#options.relinked(link)
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
