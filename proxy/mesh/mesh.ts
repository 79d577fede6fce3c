/** The only writer of the directory: one state per cluster in, merged services out. */
import { isDeepStrictEqual } from 'node:util'
import type { Cidr } from '../model/address.ts'
import { familyOf } from '../model/address.ts'
import { addressOfDestination, type Health } from '../model/backend.ts'
import type { Cluster, Link } from '../model/cluster.ts'
import { type Change, changeOf, type Directory, type ServiceChange } from '../model/directory.ts'
import type { Problem } from '../model/error.ts'
import type { Node } from '../model/location.ts'
import type { Log } from '../model/log.ts'
import {
  type ClusterService,
  type Clusterset,
  type GlobalService,
  proxyNameOf,
  type ServiceKey,
  type Settings,
  serviceKey,
} from '../model/service.ts'
import type { Sink } from '../model/sink.ts'
import type { Clock } from '../model/time/clock.ts'
import { Turns } from '../model/time/turn.ts'
import { BackendIndex } from './backend-index.ts'
import { ClusterState } from './cluster-state.ts'
import { ClustersetResolver } from './clusterset.ts'
import { FrontendOwners } from './frontend-owners.ts'
import { type FrontendIp, type MemberService, type MergeContext, type Merged, remerge, sameService } from './merge.ts'
import { PodAddresses } from './pod-addresses.ts'
import { PortAllocator, type PortPlace } from './port-allocator.ts'
import { VipAllocator } from './vip-allocator.ts'

export interface MeshOptions {
  /** In the order of the configuration; exactly one is local. */
  readonly clusters: readonly Cluster[]
  /** When the backends of a lost cluster are demoted; 0: never. */
  readonly staleAfterMs: number
  /** When they are dropped; 0, the default: never. */
  readonly dropAfterMs?: number
  /** Frontends get addresses from this range instead of their ClusterIPs. */
  readonly vips?: Cidr
  /** Frontends get ports of one address instead. */
  readonly ports?: PortPlace
  /** Which services are proxied, and so get a virtual address. */
  readonly services: 'global' | 'all'
  /** A local Service that is left to a proxy of another name gets no frontends; undefined: all get them. */
  readonly proxyName?: string
  /** The name of the node that Starlane runs on. */
  readonly node?: string
  /** The labels of that node have changed, or it is known now. */
  readonly onOwnNode?: () => void
  /** The current verdict on the backends of a destination. */
  readonly health: (destination: string) => Health
  /** Whether others are preferred to a destination, since checks have no verdict on it yet. */
  readonly untested?: (destination: string) => boolean
  readonly clock: Clock
  readonly log: Log
  /** Called with each batch before it is announced: services that it writes to a sink are merged into the same batch. */
  readonly onMerged?: (change: Change) => void
  /** Schedules the merge of the changes collected so far; by default in turns. */
  readonly defer?: (run: () => void) => void
}

/** How long one batch merges, of which a turn has several; what follows from the change takes as long again. */
const mergeMs = 1
/** A batch with so many backends that are new or gone is enough: those who follow the directory make something of each. */
const mergeMoved = 64
/** What one round leads to is the next one's; after so many it is the next batch's. */
const mostRounds = 8

/** What has been merged of a batch. */
interface Batch {
  services: number
  /** Backends that are new or gone. */
  moved: number
}

/**
 * Each source writes to its cluster's state. A change marks the service names it touches; the next batch merges exactly
 * those, so the cost of a change is the size of its services, not of the mesh.
 */
export class Mesh {
  readonly directory: Directory
  #options: MeshOptions
  /** The local one first, so that it wins overlaps. */
  #states: readonly ClusterState[] = []
  #local: ClusterState
  /** The clusters that declare a service, in the same order: a merge looks at those alone, however many there are. */
  #declaring = new Map<ServiceKey, readonly ClusterState[]>()
  /** Names of the clusters in their order, and the places of those that the configuration names. */
  #names: readonly string[] = []
  #ranks: ReadonlyMap<string, number> = new Map()
  #places: ReadonlyMap<ClusterState, number> = new Map()
  #services = new Map<ServiceKey, GlobalService>()
  /** What each was merged from last. */
  #merged = new Map<ServiceKey, Merged>()
  /** Services that have a backend with another verdict than when they were merged last. */
  #unjudged = new Set<ServiceKey>()
  #backends = new BackendIndex()
  #owners = new FrontendOwners()
  #foreignPorts = new Map<ServiceKey, Problem>()
  #pods = new PodAddresses()
  #ownNode: Node | undefined
  #clusterset = new ClustersetResolver()
  #vips: VipAllocator | undefined
  #ports: PortAllocator | undefined
  /** Services that have lost their virtual address to the one that is being rebuilt. */
  #evictions: ServiceChange[] = []

  #dirty = new Set<ServiceKey>()
  #scheduled = false
  #synced = false
  #closed = false
  #changedAt: number
  #listeners = new Set<(change: Change) => void>()
  #syncing = Promise.withResolvers<void>()
  #initializing = Promise.withResolvers<void>()

  constructor(options: MeshOptions) {
    const local = options.clusters.find(cluster => cluster.local)
    if (!local) throw new TypeError('one of the clusters must be the local one')
    this.#options = options
    this.#changedAt = options.clock.wall()
    this.#ports = options.ports ? new PortAllocator(options.ports) : undefined
    this.#vips = options.vips ? new VipAllocator(options.vips) : undefined
    this.#local = this.#newState(local)
    this.#states = [this.#local, ...options.clusters.filter(cluster => !cluster.local).map(c => this.#newState(c))]
    this.#order()
    this.directory = this.#newDirectory()
  }

  /** Sets the remote clusters: removed ones lose their services, new ones start empty, the others are not touched. */
  setClusters(clusters: readonly Cluster[]): void {
    const before = this.#states.filter(state => state !== this.#local)
    const after = clusters
      .filter(cluster => !cluster.local)
      .map(cluster => before.find(state => state.cluster.name === cluster.name) ?? this.#newState(cluster))
    this.#states = [this.#local, ...after]
    this.#order()
    for (const state of before.filter(known => !after.includes(known))) {
      state.close()
      this.#mark([...state.entries()].map(({ service }) => serviceKey(service.namespace, service.name)))
    }
  }

  /** Where the source of a cluster writes. `maxEndpoints`: with more, the cluster is lost with what it had before. */
  sink(cluster: string, maxEndpoints = Number.POSITIVE_INFINITY): Sink {
    const state = this.#state(cluster)
    state.maxEndpoints = maxEndpoints
    return {
      reset: ({ services, namespaces, pods = [], nodes = [], isDelivered }) => {
        if (isDelivered) return state.complete()
        state.reset(services, namespaces)
        if (state !== this.#local) return
        this.#pods.reset(pods)
        this.#setOwnNode(nodes.find(node => this.#isOwnNode(node.name)))
        this.#markRemote()
      },
      recall: ({ services, namespaces, pods = [], nodes = [] }, since) => {
        if (!state.recall(services, namespaces, since) || state !== this.#local) return
        this.#pods.reset(pods)
        this.#setOwnNode(nodes.find(node => this.#isOwnNode(node.name)))
        this.#markRemote()
      },
      put: service => this.#withNamespace(state, service.namespace, () => state.put(service)),
      drop: (namespace, name) => this.#withNamespace(state, namespace, () => state.drop(namespace, name)),
      putNamespace: namespace => this.#withNamespace(state, namespace.name, () => state.putNamespace(namespace)),
      dropNamespace: name => this.#withNamespace(state, name, () => state.dropNamespace(name)),
      // Only Pods of the local cluster have DNS names here.
      putPod: pod => state === this.#local && this.#pods.put(pod),
      dropPod: (namespace, name) => state === this.#local && this.#pods.drop(namespace, name),
      putNode: node => state === this.#local && this.#isOwnNode(node.name) && this.#setOwnNode(node),
      dropNode: name => state === this.#local && this.#isOwnNode(name) && this.#setOwnNode(undefined),
      live: () => state.live(),
      lost: error => state.lost(error),
      problems: problems => state.setProblems(problems),
    }
  }

  /** The verdict on a destination changed: the services that have it are rebuilt. Many may have its address, as on a host's network. */
  healthChanged(destination: string): void {
    const at = this.#backends.servicesAt(addressOfDestination(destination))
    const has = (key: ServiceKey) => this.#services.get(key)?.backends.some(one => one.destination === destination)
    const keys = at.length > 1 ? at.filter(has) : at
    for (const key of keys) this.#unjudged.add(key)
    this.#mark(keys)
  }

  /** The node that Starlane runs on, if the local cluster's source reads nodes. */
  get ownNode(): Node | undefined {
    return this.#ownNode
  }

  link(cluster: string): Link {
    return this.#state(cluster).link
  }

  /** Counts of what a cluster declares now, and when its source last reported a change (wall-clock milliseconds). */
  summary(cluster: string): {
    services: number
    globalServices: number
    backends: number
    changedAt: number | undefined
  } {
    const state = this.#state(cluster)
    const { size: services, globalServices, endpoints: backends, changedAt } = state
    return { services, globalServices, backends, changedAt }
  }

  /** The service of that name in each cluster, the local one first, whether or not it takes part in the merge. */
  declared(key: ServiceKey): ClusterService[] {
    return this.#statesWith(key).flatMap(state => state.get(key)?.service ?? [])
  }

  /** Whether services of a local namespace may be exported (Cilium C13). */
  isGlobalNamespace(name: string): boolean {
    return this.#local.isGlobalNamespace(name)
  }

  /** The clusters whose first full list has not arrived yet. */
  unsyncedClusters(): string[] {
    return this.#states.filter(state => !state.hasSynced).map(({ cluster: { name } }) => name)
  }

  /** The virtual addresses of services, for a successor. */
  get virtualAddresses(): ReadonlyMap<ServiceKey, string> {
    return this.#vips?.held ?? new Map()
  }

  /** Keeps the virtual addresses that a predecessor has given, for services that come. Called before any source has started. */
  reserve(addresses: Iterable<readonly [ServiceKey, string]>): void {
    for (const [key, address] of addresses) this.#vips?.reserve(key, address)
  }

  /** Whether what is known of the local cluster has come from its source, and not from memory alone. */
  get isConfirmed(): boolean {
    return this.#local.hasSynced
  }

  /** All current problems with what the sources report. */
  problems(): Problem[] {
    return [
      ...this.#states.flatMap(state => state.problems()),
      ...this.#owners.conflicts().map(({ frontend, owner, other }) => ({
        code: 'MERGE_OVERLAP' as const,
        where: frontend,
        message: `${other} has the same address as ${owner}, which keeps it; give one of them another ClusterIP or port`,
      })),
      ...this.#foreignPorts.values(),
      ...(this.#vips?.problems() ?? []),
      ...(this.#ports?.problems() ?? []),
    ]
  }

  /** Resolves once the local cluster is in the directory, from its source or from memory. */
  get synced(): Promise<void> {
    return this.#syncing.promise
  }

  /** Resolves once the local cluster is known, and every other one is known, or known to be lost. */
  get initialized(): Promise<void> {
    return this.#initializing.promise
  }

  /** Merges what is marked now, without waiting for the next batch, or so many services of it. */
  flush(most = Number.POSITIVE_INFINITY): void {
    this.#scheduled = false
    if (this.#closed) return
    this.#merge(({ services }) => services >= most)
    this.#checkInitialized()
  }

  /** What is marked is merged in batches, several in a turn: each of them is a change of its own. */
  async #flushInTurns(): Promise<void> {
    const turns = new Turns('common')
    while (this.#scheduled) {
      await turns.next()
      const end = performance.now() + mergeMs
      if (!this.#scheduled || this.#closed) return
      this.#merge(({ moved }) => moved >= mergeMoved || performance.now() > end)
      if (this.#dirty.size > 0) continue
      this.#scheduled = false
      this.#checkInitialized()
    }
  }

  /** The rest stays marked when it is enough. */
  #merge(isEnough: (merged: Batch) => boolean): void {
    const change: ServiceChange[] = []
    const merged = { services: 0, moved: 0 }
    const marked = this.#dirty
    const count = marked.size
    this.#dirty = new Set()
    for (const key of marked) {
      if (marked.size < count && isEnough(merged)) break
      marked.delete(key)
      merged.services++
      for (const replaced of this.#replaced(key)) {
        change.push(replaced)
        merged.moved += replaced.backends.gone.length + replaced.backends.come.length
      }
    }
    // What is left is not copied: there may be thousands, and a turn is short.
    for (const key of this.#dirty) marked.add(key)
    this.#dirty = marked
    const whole = this.#reviewed(folded(change))
    if (whole.length > 0) this.#notify(whole)
  }

  close(): void {
    this.#closed = true
    for (const state of this.#states) state.close()
  }

  /** The change with what `onMerged` makes of it, and of that again; all that was marked before is left for the next batch. */
  #reviewed(change: Change): Change {
    const { onMerged } = this.#options
    if (!onMerged || change.length === 0) return change
    const next = this.#dirty
    const rounds = [change]
    // A service that is merged only since `onMerged` wrote it may have its first frontends by that.
    for (const made of rounds) {
      const isLast = rounds.length === mostRounds
      if (!isLast) this.#dirty = new Set()
      onMerged(made)
      if (isLast) break
      const keys = this.#dirty
      this.#dirty = next
      const more = folded([...keys].flatMap(key => this.#replaced(key)))
      if (more.length > 0) rounds.push(more)
    }
    return rounds.length > 1 ? folded(rounds.flat()) : change
  }

  /** Rebuilds a service, and those that have to make room for it before. */
  #replaced(key: ServiceKey): ServiceChange[] {
    const replaced = this.#rebuild(key)
    const evictions = this.#evictions
    if (evictions.length > 0) this.#evictions = []
    return replaced ? [...evictions, replaced] : evictions
  }

  #isOwnNode(name: string): boolean {
    return this.#options.node !== undefined && name === this.#options.node
  }

  #setOwnNode(node: Node | undefined): void {
    if (isDeepStrictEqual(node, this.#ownNode)) return
    this.#ownNode = node
    this.#options.onOwnNode?.()
  }

  #mark(keys: Iterable<ServiceKey>): void {
    for (const key of keys) {
      this.#dirty.add(key)
      const derived = this.#derivedKey(key)
      if (derived !== undefined) this.#dirty.add(derived)
    }
    if (this.#scheduled || this.#closed) return
    this.#scheduled = true
    if (this.#options.defer) this.#options.defer(() => this.flush())
    else void this.#flushInTurns()
  }

  #rebuild(name: ServiceKey): ServiceChange | undefined {
    const before = this.#services.get(name)
    const key = before?.key ?? name // the text that is kept already
    const declared = this.#members(key)
    if (declared.length === 0) return before && this.#remove(key, before)

    const { members, settings, clusterset } = this.#resolve(key, declared)
    const local = members.find(member => member.local)?.service
    if (!local) this.#releaseVip(key)
    const context: MergeContext = {
      health: this.#options.health,
      untested: this.#options.untested,
      isJudged: !this.#unjudged.delete(key) && this.#isWatched(before),
      clusterset,
      // The address of an import that no cluster of this mesh serves is another implementation's.
      frontendIps:
        local && !(local.imported && members.length === 1) ? this.#frontendIps(key, local, settings, clusterset) : [],
      node: this.#options.node,
      now: this.#options.clock.wall(),
      ...this.#portsOf(key, local),
    }
    const isAt = (address: string) => this.#backends.has(address, key)
    const merged = remerge(key, members, settings, context, before && this.#merged.get(key), isAt)
    this.#merged.set(key, merged)
    const { service } = merged
    const ports = foreignPorts(key, local, members)
    if (ports) this.#foreignPorts.set(key, ports)
    else this.#foreignPorts.delete(key)
    const after = this.#claimFrontends(service)
    if (before && sameService(before, after)) return undefined
    this.#services.set(key, after)
    return this.#indexed(changeOf(key, before, after))
  }

  /** Whether each change of a verdict on its backends is told: those that no frontend has may have an old one. */
  #isWatched(service: GlobalService | undefined): boolean {
    if (!service || service.frontends.length === 0 || service.parked.length > 0) return false
    return this.#options.services === 'all' || service.settings.global
  }

  #remove(key: ServiceKey, before: GlobalService): ServiceChange {
    this.#services.delete(key)
    this.#merged.delete(key)
    this.#unjudged.delete(key)
    this.#clusterset.forget(key)
    this.#foreignPorts.delete(key)
    this.#releaseVip(key)
    this.#mark(this.#owners.release(key))
    return this.#indexed(changeOf(key, before, undefined))
  }

  #indexed(change: ServiceChange): ServiceChange {
    this.#backends.replace(change)
    return change
  }

  #statesWith(key: ServiceKey): readonly ClusterState[] {
    return this.#declaring.get(key) ?? []
  }

  /** The list of clusters has changed. */
  #order(): void {
    this.#names = this.#states.map(({ cluster }) => cluster.name)
    this.#places = new Map(this.#states.map((state, place) => [state, place]))
    const named = this.#states.flatMap(({ cluster: { name, discovered } }, place) =>
      discovered ? [] : [[name, place] as const],
    )
    this.#ranks = new Map(named)
    this.#declaring.clear()
    for (const state of this.#states) this.#place(state, state.keys())
  }

  /** Services of a cluster may have come or gone. */
  #place(state: ClusterState, keys: Iterable<ServiceKey>): void {
    const placeOf = (one: ClusterState) => this.#places.get(one) ?? 0
    for (const key of keys) {
      const known = this.#statesWith(key)
      const isThere = state.has(key)
      if (known.includes(state) === isThere) continue
      const states = isThere ? [...known, state] : known.filter(one => one !== state)
      if (states.length === 0) this.#declaring.delete(key)
      else this.#declaring.set(key, isThere ? states.sort((a, b) => placeOf(a) - placeOf(b)) : states)
    }
  }

  #members(key: ServiceKey): MemberService[] {
    return this.#statesWith(key).flatMap(state => {
      const entry = state.get(key)
      if (!entry) return []
      const { global, shared } = entry.decoded.settings
      const exported = global && shared && state.isGlobalNamespace(entry.service.namespace)
      return state === this.#local || exported
        ? [
            {
              service: entry.service,
              local: state === this.#local,
              exported,
              network: state.cluster.network,
              demoted: state.isDemoted,
            },
          ]
        : []
    })
  }

  #resolve(key: ServiceKey, members: readonly MemberService[]) {
    const local = this.#local.get(key)
    const [namespace = ''] = key.split('/')
    const derivedFrom = local?.service.derivedFrom
    return this.#clusterset.resolve(key, {
      members,
      settings: local?.decoded.settings,
      origin: derivedFrom === undefined ? [] : this.#members(serviceKey(namespace, derivedFrom)),
      localCluster: this.#local.cluster.name,
      hasNamespace: this.#local.hasNamespace(namespace),
      clusterNames: this.#names,
      rankOf: name => this.#rankOf(name),
    })
  }

  /** The local cluster first, then the order of the configuration; clusters that were discovered have none. */
  #rankOf(cluster: string): number {
    return this.#ranks.get(cluster) ?? this.#states.length
  }

  /** The derived Service of a local import, if it has one. */
  #derivedKey(key: ServiceKey): ServiceKey | undefined {
    const service = this.#local.get(key)?.service
    return service?.derived === undefined ? undefined : serviceKey(service.namespace, service.derived)
  }

  /** Runs a change. Exports reach only namespaces that the local cluster has: if one is added or removed, those are merged again. */
  #withNamespace(state: ClusterState, namespace: string, act: () => void): void {
    const before = state.hasNamespace(namespace)
    act()
    if (state !== this.#local || state.hasNamespace(namespace) === before) return
    for (const remote of this.#states) if (remote !== state) this.#mark(remote.keysOf(namespace))
  }

  #markRemote(): void {
    for (const state of this.#states) {
      if (state === this.#local) continue
      this.#mark([...state.entries()].map(({ service: { namespace, name } }) => serviceKey(namespace, name)))
    }
  }

  #frontendIps(
    key: ServiceKey,
    local: ClusterService,
    settings: Settings,
    clusterset: Clusterset | undefined,
  ): FrontendIp[] {
    const { proxyName } = this.#options
    if (proxyName !== undefined && (proxyNameOf(local) ?? proxyName) !== proxyName) {
      this.#releaseVip(key)
      return []
    }
    const proxied = this.#options.services === 'all' || settings.global
    const wanted = local.clusterIPs.length > 0 || (clusterset?.headless === false && local.derived === undefined)
    if (this.#ports && proxied && wanted) return [{ ip: this.#ports.place.address, family: undefined }]
    if (!this.#vips || !proxied || !wanted) {
      this.#releaseVip(key)
      return local.clusterIPs.map(ip => ({ ip, family: familyOf(ip) }))
    }
    // A service that only others have, as an import or without one.
    const exporters = local.imported ? (clusterset?.clusters.filter(name => name !== local.cluster) ?? []) : []
    const vip = this.#vips.allocate(key, exporters)
    if (vip?.evicted !== undefined) {
      const replaced = this.#rebuild(vip.evicted)
      if (replaced) this.#evictions.push(replaced)
    }
    return vip ? [{ ip: vip.address, family: undefined }] : []
  }

  /** The ports of the one address, if frontends have them. */
  #portsOf(key: ServiceKey, local: ClusterService | undefined): Pick<MergeContext, 'portsFor'> {
    const ports = this.#ports
    if (!ports) return {}
    const { address } = ports.place
    return {
      portsFor: (declared, backends) =>
        ports.allocate(key, declared, {
          isRemote: local?.imported === true,
          isBackend: port => backends.some(backend => backend.address === address && backend.port === port),
        }),
    }
  }

  #releaseVip(key: ServiceKey): void {
    const next = this.#vips?.release(key) ?? this.#ports?.release(key)
    if (next !== undefined) this.#mark([next])
  }

  /** When two services have the same frontend, the first keeps it, and the other gets it when it is released. */
  #claimFrontends(service: GlobalService): GlobalService {
    const { granted, freed } = this.#owners.claim(
      service.key,
      service.frontends.map(({ key }) => key),
    )
    this.#mark(freed)
    if (granted.size === service.frontends.length) return service
    return Object.freeze({ ...service, frontends: service.frontends.filter(({ key }) => granted.has(key)) })
  }

  #newState(cluster: Cluster): ClusterState {
    const { clock, log, staleAfterMs, dropAfterMs = 0 } = this.#options
    const state: ClusterState = new ClusterState(cluster, {
      clock,
      staleAfterMs,
      dropAfterMs,
      clusterNames: () => this.#names,
      changed: keys => {
        const all = [...keys]
        // A cluster that has left is in no list.
        if (this.#places.has(state)) this.#place(state, all)
        this.#mark(all)
      },
      linkChanged: link => {
        logLink(log, cluster.name, link)
        this.#mark([])
      },
    })
    return state
  }

  #notify(change: Change): void {
    this.#changedAt = this.#options.clock.wall()
    for (const listener of this.#listeners) listener(change)
  }

  /** Runs after a batch, so that `synced` resolves only when the services are in the directory. */
  #checkInitialized(): void {
    this.#synced = this.#local.isKnown
    if (!this.#synced) return
    this.#syncing.resolve()
    if (this.#states.every(state => state.link.state !== 'syncing')) this.#initializing.resolve()
  }

  #state(cluster: string): ClusterState {
    const state = this.#states.find(({ cluster: { name } }) => name === cluster)
    if (!state) throw new TypeError(`no cluster "${cluster}"`)
    return state
  }

  #newDirectory(): Directory {
    const mesh = this
    return {
      service: key => mesh.#services.get(key),
      services: () => mesh.#services.values(),
      servicesAt: address => mesh.#backends.servicesAt(address),
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

/** Each service once, from its first state to its last. */
function folded(changes: Change): Change {
  const byKey = new Map<ServiceKey, ServiceChange>()
  for (const change of changes) {
    const earlier = byKey.get(change.key)
    byKey.set(change.key, earlier ? changeOf(change.key, earlier.before, change.after) : change)
  }
  if (byKey.size === changes.length) return changes
  return [...byKey.values()].filter(({ before, after }) => before !== after)
}

/** The ports of a local export that only others declare: as KEP-1645 has it, they are reachable on the address of the local Service. */
function foreignPorts(
  key: ServiceKey,
  local: ClusterService | undefined,
  members: readonly MemberService[],
): Problem | undefined {
  if (!local?.exported || local.imported || local.derived !== undefined || local.headless) return undefined
  const found = members.flatMap(({ service, local: isLocal, exported }) => {
    if (isLocal || !exported || !service.exported) return []
    const news = service.ports.filter(
      ({ port, protocol }) => !local.ports.some(own => own.port === port && own.protocol === protocol),
    )
    return news.length === 0 ? [] : `${service.cluster} ${news.map(p => `${p.port}/${p.protocol}`).join(', ')}`
  })
  if (found.length === 0) return undefined
  const message = `the local Service does not declare all ports that others export (${found.join('; ')}), and clients reach those at its address too; add them to it, or take them out of the exports`
  return { code: 'EXPORT_PORTS', where: `${local.cluster} ${key}`, message }
}

function logLink(log: Log, cluster: string, link: Link): void {
  if (link.state === 'live') log.info('cluster.live', { cluster })
  else if (link.state === 'lost') log.warn('cluster.lost', { cluster, why: link.error.message, staleAt: link.staleAt })
  else if (link.state === 'stale') log.warn('cluster.stale', { cluster, why: link.error.message, dropAt: link.dropAt })
  else if (link.state === 'dropped') log.warn('cluster.dropped', { cluster, why: link.error.message })
  else if (link.state === 'remembered')
    log.info('cluster.remembered', { cluster, since: new Date(link.since).toISOString() })
}
