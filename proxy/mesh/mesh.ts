import type { Cidr } from '../model/address.ts'
import { familyOf } from '../model/address.ts'
import type { Health } from '../model/backend.ts'
import type { Cluster, Link } from '../model/cluster.ts'
import type { Change, Directory, ServiceChange } from '../model/directory.ts'
import type { MeshError, Problem } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import {
  type ClusterService,
  type Clusterset,
  type GlobalService,
  type Namespace,
  type Pod,
  type ServiceKey,
  type Settings,
  serviceKey,
} from '../model/service.ts'
import type { Clock } from '../model/time/clock.ts'
import { Claims } from './claims.ts'
import { Gatherer } from './clusterset.ts'
import { type FrontendIp, type Member, type Merged, merge, sameService } from './merge.ts'
import { Pods } from './pods.ts'
import { Shelf } from './shelf.ts'
import { Vips } from './vips.ts'

export interface MeshOptions {
  /** In the order of the configuration; exactly one is local. */
  readonly clusters: readonly Cluster[]
  readonly staleAfterMs: number
  /** Frontends get addresses from this range instead of their ClusterIPs. */
  readonly vips?: Cidr
  /** Which services are proxied, and so which get a virtual address. */
  readonly services: 'global' | 'all'
  readonly node?: string
  /** The verdict that stands about a backend. */
  readonly health: (backendKey: string) => Health
  readonly clock: Clock
  readonly log: Log
  /** Runs the batch of changes that has gathered; `setImmediate` unless a test decides. */
  readonly defer?: (run: () => void) => void
}

/**
 * The only writer of the directory. Sources write to a shelf per cluster; a change marks the names it touches, and one
 * batch later exactly those are merged anew: the cost of a change is the size of its services, not of the mesh.
 */
export class Mesh {
  readonly directory: Directory
  #options: MeshOptions
  /** The local one first, so that it wins overlaps. */
  #shelves: readonly Shelf[] = []
  #local: Shelf
  #services = new Map<ServiceKey, GlobalService>()
  #overlaps = new Map<ServiceKey, Merged['overlaps']>()
  #servicesOf = new Map<string, readonly ServiceKey[]>()
  #claims = new Claims()
  #pods = new Pods()
  #gatherer = new Gatherer()
  #vips: Vips | undefined
  #full = new Set<ServiceKey>()
  #dirty = new Set<ServiceKey>()
  #scheduled = false
  #synced = false
  #closed = false
  #changedAt: number
  #listeners = new Set<(change: Change) => void>()
  #syncing = Promise.withResolvers<void>()
  #settling = Promise.withResolvers<void>()

  constructor(options: MeshOptions) {
    const local = options.clusters.find(cluster => cluster.local)
    if (!local) throw new TypeError('one of the clusters must be the local one')
    this.#options = options
    this.#changedAt = options.clock.wall()
    this.#vips = options.vips ? new Vips(options.vips) : undefined
    this.#local = this.#newShelf(local)
    this.#shelves = [this.#local, ...options.clusters.filter(cluster => !cluster.local).map(c => this.#newShelf(c))]
    this.directory = this.#readSide()
  }

  /** Takes over a new list of remote clusters: those gone lose their services, new ones begin empty, the others stay as they are. */
  setClusters(clusters: readonly Cluster[]): void {
    const before = this.#shelves.filter(shelf => shelf !== this.#local)
    const after = clusters
      .filter(cluster => !cluster.local)
      .map(cluster => before.find(shelf => shelf.cluster.name === cluster.name) ?? this.#newShelf(cluster))
    this.#shelves = [this.#local, ...after]
    for (const shelf of before.filter(known => !after.includes(known))) {
      shelf.close()
      this.#mark([...shelf.entries()].map(({ service }) => serviceKey(service.namespace, service.name)))
    }
  }

  /** Where the source of one cluster writes. */
  sink(cluster: string): MeshSink {
    const shelf = this.#shelf(cluster)
    return {
      reset: ({ services, namespaces, pods = [] }) => {
        shelf.reset(services, namespaces)
        if (shelf !== this.#local) return
        this.#pods.reset(pods)
        this.#markRemote(() => true)
      },
      put: service => this.#inNamespace(shelf, service.namespace, () => shelf.put(service)),
      drop: (namespace, name) => this.#inNamespace(shelf, namespace, () => shelf.drop(namespace, name)),
      putNamespace: namespace => this.#inNamespace(shelf, namespace.name, () => shelf.putNamespace(namespace)),
      dropNamespace: name => this.#inNamespace(shelf, name, () => shelf.dropNamespace(name)),
      // Other clusters' Pods have no name here.
      putPod: pod => shelf === this.#local && this.#pods.put(pod),
      dropPod: (namespace, name) => shelf === this.#local && this.#pods.drop(namespace, name),
      live: () => shelf.live(),
      lost: error => shelf.lost(error),
      problems: problems => shelf.setProblems(problems),
    }
  }

  /** The verdict about one backend flipped: the services that hold it are rebuilt. */
  healthChanged(backendKey: string): void {
    this.#mark(this.#servicesOf.get(backendKey) ?? [])
  }

  link(cluster: string): Link {
    return this.#shelf(cluster).link
  }

  /** What a cluster declares now, and when its source last said something new (wall-clock milliseconds). */
  summary(cluster: string): {
    services: number
    globalServices: number
    backends: number
    changedAt: number | undefined
  } {
    const shelf = this.#shelf(cluster)
    let globalServices = 0
    let backends = 0
    for (const { service, decoded } of shelf.entries()) {
      backends += service.endpoints.length
      if (decoded.settings.global) globalServices++
    }
    return { services: shelf.size, globalServices, backends, changedAt: shelf.changedAt }
  }

  /** What every cluster declares under a name, the local one first, whether or not it takes part. */
  declared(key: ServiceKey): ClusterService[] {
    return this.#shelves.flatMap(shelf => shelf.get(key)?.service ?? [])
  }

  /** The export gate of the local cluster's namespaces (C13). */
  isGlobalNamespace(name: string): boolean {
    return this.#local.isGlobalNamespace(name)
  }

  /** The clusters that have never yet said all that they have. */
  silentClusters(): string[] {
    return this.#shelves.filter(shelf => !shelf.delivered).map(({ cluster: { name } }) => name)
  }

  /** Everything wrong with what the sources say, now. */
  problems(): Problem[] {
    return [
      ...this.#shelves.flatMap(shelf => shelf.problems()),
      ...[...this.#overlaps].flatMap(([key, overlaps]) => overlaps.map(overlap => overlapProblem(key, overlap))),
      ...this.#claims.conflicts().map(({ frontend, owner, other }) => ({
        code: 'MERGE_OVERLAP' as const,
        where: frontend,
        message: `${other} asks for the address of ${owner} and does not get it; give one of them another ClusterIP or port`,
      })),
      ...[...this.#full].map(key => ({
        code: 'VIP_RANGE' as const,
        where: key,
        message: `no virtual address is left in ${this.#vips?.range.text}; configure a larger proxy.vips.cidr`,
      })),
    ]
  }

  /** Resolves once all of the local cluster is in the directory. */
  get synced(): Promise<void> {
    return this.#syncing.promise
  }

  /** Resolves once it is synced, and every other cluster has spoken or is known not to answer. */
  get settled(): Promise<void> {
    return this.#settling.promise
  }

  /** Merges what is marked now instead of with the next batch. */
  flush(): void {
    this.#scheduled = false
    if (this.#closed) return
    const keys = this.#dirty
    this.#dirty = new Set()
    const change: ServiceChange[] = []
    for (const key of keys) {
      const replaced = this.#rebuild(key)
      if (replaced) change.push(replaced)
    }
    if (change.length > 0) this.#tell(change)
    this.#checkSettled()
  }

  close(): void {
    this.#closed = true
    for (const shelf of this.#shelves) shelf.close()
  }

  #mark(keys: Iterable<ServiceKey>): void {
    for (const key of keys) {
      this.#dirty.add(key)
      const derived = this.#derivedKey(key)
      if (derived !== undefined) this.#dirty.add(derived)
    }
    if (this.#scheduled || this.#closed) return
    this.#scheduled = true
    const defer = this.#options.defer ?? setImmediate
    defer(() => this.flush())
  }

  #rebuild(key: ServiceKey): ServiceChange | undefined {
    const before = this.#services.get(key)
    const members = this.#members(key)
    if (members.length === 0) return before && this.#remove(key, before)

    const { settings, clusterset, ...gathered } = this.#gather(key, members)
    const local = gathered.members.find(member => member.local)?.service
    if (!local) this.#releaseVip(key)
    const { service, overlaps } = merge(key, gathered.members, settings, {
      health: this.#options.health,
      clusterset,
      frontendIps: local ? this.#frontendIps(key, local, settings, clusterset) : [],
      node: this.#options.node,
      now: this.#options.clock.wall(),
    })
    const after = this.#claimFrontends(service)
    if (overlaps.length > 0) this.#overlaps.set(key, overlaps)
    else this.#overlaps.delete(key)
    if (before && sameService(before, after)) return undefined
    this.#services.set(key, after)
    this.#index(key, before, after)
    return { key, before, after }
  }

  #remove(key: ServiceKey, before: GlobalService): ServiceChange {
    this.#services.delete(key)
    this.#overlaps.delete(key)
    this.#gatherer.forget(key)
    this.#releaseVip(key)
    this.#mark(this.#claims.release(key))
    this.#index(key, before, undefined)
    return { key, before, after: undefined }
  }

  #members(key: ServiceKey): Member[] {
    return this.#shelves.flatMap(shelf => {
      const entry = shelf.get(key)
      if (!entry) return []
      const { global, shared } = entry.decoded.settings
      const exported = global && shared && shelf.isGlobalNamespace(entry.service.namespace)
      return shelf === this.#local || exported
        ? [{ service: entry.service, local: shelf === this.#local, exported }]
        : []
    })
  }

  #gather(key: ServiceKey, members: readonly Member[]) {
    const local = this.#local.get(key)
    const [namespace = ''] = key.split('/')
    const derivedFrom = local?.service.derivedFrom
    return this.#gatherer.gather(key, {
      members,
      settings: local?.decoded.settings,
      origin: derivedFrom === undefined ? [] : this.#members(serviceKey(namespace, derivedFrom)),
      localCluster: this.#local.cluster.name,
      hasNamespace: this.#local.hasNamespace(namespace),
      clusterNames: this.#shelves.map(shelf => shelf.cluster.name),
    })
  }

  /** Of a service whose local import has one. */
  #derivedKey(key: ServiceKey): ServiceKey | undefined {
    const service = this.#local.get(key)?.service
    return service?.derived === undefined ? undefined : serviceKey(service.namespace, service.derived)
  }

  /** A namespace that comes or goes in the local cluster lets exports of other clusters in or out. */
  #inNamespace(shelf: Shelf, namespace: string, act: () => void): void {
    const before = shelf.hasNamespace(namespace)
    act()
    if (shelf === this.#local && shelf.hasNamespace(namespace) !== before) {
      this.#markRemote(service => service.namespace === namespace)
    }
  }

  #markRemote(which: (service: ClusterService) => boolean): void {
    for (const shelf of this.#shelves) {
      if (shelf === this.#local) continue
      const services = [...shelf.entries()].map(({ service }) => service).filter(which)
      this.#mark(services.map(({ namespace, name }) => serviceKey(namespace, name)))
    }
  }

  #frontendIps(
    key: ServiceKey,
    local: ClusterService,
    settings: Settings,
    clusterset: Clusterset | undefined,
  ): FrontendIp[] {
    const proxied = this.#options.services === 'all' || settings.global
    const wanted = local.clusterIPs.length > 0 || (clusterset?.headless === false && local.derived === undefined)
    if (!this.#vips || !proxied || !wanted) {
      this.#releaseVip(key)
      return local.clusterIPs.map(ip => ({ ip, family: familyOf(ip) }))
    }
    const ip = this.#vips.take(key)
    if (ip === undefined) this.#full.add(key)
    else this.#full.delete(key)
    return ip === undefined ? [] : [{ ip, family: undefined }]
  }

  #releaseVip(key: ServiceKey): void {
    this.#vips?.release(key)
    this.#full.delete(key)
  }

  /** Two services may ask for one frontend; the first keeps it, and the other gets it when it is free. */
  #claimFrontends(service: GlobalService): GlobalService {
    const { granted, freed } = this.#claims.claim(
      service.key,
      service.frontends.map(({ key }) => key),
    )
    this.#mark(freed)
    if (granted.size === service.frontends.length) return service
    return Object.freeze({ ...service, frontends: service.frontends.filter(({ key }) => granted.has(key)) })
  }

  /** Keeps the way from a backend to its services, for verdicts. */
  #index(key: ServiceKey, before: GlobalService | undefined, after: GlobalService | undefined): void {
    const kept = new Set(after?.backends.map(backend => backend.key))
    for (const backend of before?.backends ?? []) {
      if (kept.has(backend.key)) continue
      const left = (this.#servicesOf.get(backend.key) ?? []).filter(other => other !== key)
      if (left.length > 0) this.#servicesOf.set(backend.key, left)
      else this.#servicesOf.delete(backend.key)
    }
    for (const backendKey of kept) {
      const known = this.#servicesOf.get(backendKey) ?? []
      if (!known.includes(key)) this.#servicesOf.set(backendKey, [...known, key])
    }
  }

  #newShelf(cluster: Cluster): Shelf {
    const { clock, log, staleAfterMs } = this.#options
    return new Shelf(cluster, {
      clock,
      staleAfterMs,
      clusterNames: () => this.#shelves.map(shelf => shelf.cluster.name),
      changed: keys => this.#mark(keys),
      relinked: link => {
        logLink(log, cluster.name, link)
        this.#mark([])
      },
    })
  }

  #tell(change: Change): void {
    this.#changedAt = this.#options.clock.wall()
    for (const listener of this.#listeners) listener(change)
  }

  /** Asked after a batch, so that what a cluster said is in the directory before anybody counts on it. */
  #checkSettled(): void {
    this.#synced = this.#local.delivered
    if (!this.#synced) return
    this.#syncing.resolve()
    if (this.#shelves.every(shelf => shelf.link.state !== 'syncing')) this.#settling.resolve()
  }

  #shelf(cluster: string): Shelf {
    const shelf = this.#shelves.find(({ cluster: { name } }) => name === cluster)
    if (!shelf) throw new TypeError(`no cluster "${cluster}"`)
    return shelf
  }

  #readSide(): Directory {
    const mesh = this
    return {
      service: key => mesh.#services.get(key),
      services: () => mesh.#services.values(),
      get size() {
        return mesh.#services.size
      },
      hasNamespace: name => mesh.#local.hasNamespace(name),
      hasPod: (namespace, address) => mesh.#pods.has(namespace, address),
      get synced() {
        return mesh.#synced
      },
      get changedAt() {
        return mesh.#changedAt
      },
      onChange: listener => {
        mesh.#listeners.add(listener)
        return () => mesh.#listeners.delete(listener)
      },
    }
  }
}

/** The same shape as the sources' Sink; written out since siblings do not import each other. */
export interface MeshSink {
  reset(snapshot: {
    readonly services: readonly ClusterService[]
    readonly namespaces: readonly Namespace[]
    readonly pods?: readonly Pod[]
  }): void
  put(service: ClusterService): void
  drop(namespace: string, name: string): void
  putNamespace(namespace: Namespace): void
  dropNamespace(name: string): void
  putPod(pod: Pod): void
  dropPod(namespace: string, name: string): void
  live(): void
  lost(error: MeshError): void
  problems(problems: readonly Problem[]): void
}

function overlapProblem(key: ServiceKey, { key: loser, winner }: Merged['overlaps'][number]): Problem {
  return {
    code: 'MERGE_OVERLAP',
    where: `${key} ${loser}`,
    message: `is the address of ${winner} too, and is left out; give the clusters pod networks that do not overlap`,
  }
}

function logLink(log: Log, cluster: string, link: Link): void {
  if (link.state === 'live') log.info('cluster.live', { cluster })
  else if (link.state === 'lost') log.warn('cluster.lost', { cluster, why: link.error.message, staleAt: link.staleAt })
  else if (link.state === 'stale') log.warn('cluster.stale', { cluster, why: link.error.message })
}
