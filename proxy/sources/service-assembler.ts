/**
 * Assembles the services of one cluster from single objects: Kubernetes objects and the etcd records of a Cilium mesh alike.
 * Two decoders feed it (`decode/` and `etcd/`), and it calls the sink.
 */
import { isDeepStrictEqual } from 'node:util'
import { defaultLimits, overLimitsText } from '../model/cluster.ts'
import { MeshError } from '../model/error.ts'
import { plainEqual, same } from '../model/lists/plain-equal.ts'
import type { Node } from '../model/location.ts'
import {
  type ClusterService,
  type Endpoint,
  type Namespace,
  type ServiceImport,
  type ServiceKey,
  serviceKey,
} from '../model/service.ts'
import type { Sink } from '../model/sink.ts'
import { inTurns, Turns } from '../model/time/turn.ts'
import type { NamedGateway } from '../model/tunnel/gateway-address.ts'
import { GatewayClaims } from './gateway-claims.ts'
import { joinAgain, joinEndpoints, joinPorts, lackOnlyPlaces, resolveEndpoint, withoutPlace } from './join-endpoints.ts'
import { keptEndpoints } from './kept-endpoints.ts'
import { isLoose, LooseObjects } from './loose-objects.ts'
import { NodeNetworks, saysNetworks } from './node-networks.ts'
import {
  type ClusterObject,
  type DeclaredEndpoint,
  type EndpointsObject,
  type ExportObject,
  type ImportObject,
  type ObjectRef,
  refText,
  type ServiceObject,
  type ServiceSpec,
} from './objects.ts'

/** Everything known under one service's name. Parts may arrive before their Service and remain when it is deleted. */
interface Parts {
  declared: Placed<ServiceObject> | undefined
  /** Used only while there is no Service. */
  imported: Placed<ImportObject> | undefined
  exported: Placed<ExportObject> | undefined
  /** Names of the services whose imports give this one as their derived Service, sorted; normally one. */
  derivedFrom: readonly string[]
  /** By key. */
  portions: readonly Portion[]
  /** The endpoints of the service as they were joined last, if each had an address of its own. */
  plain: readonly Endpoint[] | undefined
}

interface Placed<T> {
  readonly object: T
  /** Where it was read: `services.yaml:12`. */
  readonly origin: string | undefined
}

/** The endpoints from one object. */
interface Portion {
  /** The object, by its kind and name. */
  readonly key: string
  object: EndpointsObject
  readonly origin: string | undefined
  /**
   * Whether the endpoints of `object` have the places of their nodes, which they did not declare: so there is one copy of them, and
   * what was declared is known still.
   */
  isPlaced: boolean
  /** Nodes whose zone an endpoint takes. */
  readonly nodes: ReadonlySet<string>
  /** The endpoints with readiness and zone applied, cached until either changes. */
  resolved: { readonly unready: boolean; readonly endpoints: readonly Endpoint[] } | undefined
  /** Those that the object before it had, until they are resolved or their places change. */
  kept: { readonly unready: boolean; readonly endpoints: readonly (Endpoint | undefined)[] } | undefined
}

/** The description of a service, and the endpoints that go with it. */
interface Declaration {
  readonly spec: ServiceSpec
  readonly origin: string | undefined
  readonly portions: readonly Portion[]
}

type Changes = Pick<Sink, 'put' | 'drop' | 'putNamespace' | 'dropNamespace' | 'putNode' | 'dropNode'>

/** So many services are delivered in one go. */
const atOnce = 50

export interface AssemblerOptions {
  readonly prefer?: 'slices' | 'lists'
  readonly maxEndpoints?: number | undefined
}

/**
 * Objects may come in any order. A change costs as much as the service it belongs to, and many changes between two flushes
 * cost each service once, since nothing is assembled before `flush`.
 */
export class ServiceAssembler {
  readonly #cluster: string
  readonly #parts = new Map<ServiceKey, Parts>()
  /** By object, since a slice is deleted by its own name and may move from one service to another. */
  readonly #portions = new Map<string, Portion>()
  /** From a derived Service to the exported one that uses its backends. */
  readonly #exportOf = new Map<ServiceKey, ServiceKey>()
  readonly #nodes = new Map<string, Node>()
  readonly #networks = new NodeNetworks()
  /** The region of each zone, by the nodes. */
  #regions: ReadonlyMap<string, string> = new Map()
  readonly #portionsOnNode = new Map<string, Set<Portion>>()
  readonly #namespaces = new Map<string, Namespace>()
  readonly #loose: LooseObjects
  readonly #gateways = new GatewayClaims()
  /** Changed since the last flush. */
  readonly #touched = new Set<ServiceKey>()
  readonly #touchedNamespaces = new Set<string>()
  /** With the Node as delivered. */
  readonly #touchedNodes = new Map<string, Node | undefined>()
  /** As the sink has them. */
  readonly #delivered = new Map<ServiceKey, ClusterService>()
  readonly #deliveredNamespaces = new Map<string, Namespace>()
  readonly #prefer: 'slices' | 'lists'
  #begun = false
  /** Services with too many endpoints: what was delivered of them stays. */
  readonly #oversized = new Map<ServiceKey, number>()
  readonly #maxEndpoints: number
  #isLost = false

  /**
   * `prefer`: whose endpoints a service has where there are both EndpointSlices and a list from before slices.
   * `maxEndpoints`: of one service. With more, the cluster is lost.
   */
  constructor(
    cluster: string,
    { prefer = 'slices', maxEndpoints = defaultLimits.serviceEndpoints }: AssemblerOptions = {},
  ) {
    this.#cluster = cluster
    this.#loose = new LooseObjects(cluster)
    this.#prefer = prefer
    this.#maxEndpoints = maxEndpoints
  }

  /** A new object, or the new state of a known one. `origin` is where it was read, for messages. */
  put(object: ClusterObject, origin?: string): void {
    if (object.kind === 'Service' || object.kind === 'Node') this.#gateways.set(refText(object), object.gateways)
    if (object.kind === 'Service') this.#setService(object, origin)
    else if (object.kind === 'ServiceImport') this.#setImport(object, { object, origin })
    else if (object.kind === 'ServiceExport') this.#setExport(object, { object, origin })
    else if (object.kind === 'Namespace') this.#setNamespace(object.name, object)
    else if (object.kind === 'Node') this.#setNodes(this.#networks.putNode(object))
    else if (saysNetworks(object)) this.#setNodes(this.#networks.put(refText(object), object))
    else if (isLoose(object)) this.#loose.put(object, origin)
    else this.#putPortion(object, origin)
  }

  /** Has no effect when the object is not known. */
  remove(ref: ObjectRef): void {
    this.#gateways.set(refText(ref), undefined)
    if (ref.kind === 'Service') this.#setParts(ref, { declared: undefined })
    else if (ref.kind === 'ServiceImport') this.#setImport(ref, undefined)
    else if (ref.kind === 'ServiceExport') this.#setExport(ref, undefined)
    else if (ref.kind === 'Namespace') this.#setNamespace(ref.name, undefined)
    else if (ref.kind === 'Node') this.#setNodes(this.#networks.removeNode(ref.name))
    else if (saysNetworks(ref)) this.#setNodes(this.#networks.remove(refText(ref)))
    else if (isLoose(ref)) this.#loose.remove(ref)
    else this.#removePortion(refText(ref))
  }

  /** What the cluster says of itself, beside its objects. */
  setGateways(gateways: readonly NamedGateway[]): void {
    this.#gateways.set('', gateways)
  }

  /**
   * Delivers what differs from what the sink has; the first time everything, as a reset. `isEnough` is asked after each service: then the
   * result is false, and the next call goes on.
   */
  flush(sink: Sink, isEnough = () => false): boolean {
    if (!this.#begun) {
      this.reset(sink)
      return true
    }
    if (!this.#settle(sink, isEnough)) return false
    this.#loose.settle(sink)
    this.#gateways.settle(sink)
    this.#checkSizes(sink)
    return true
  }

  /** The same in turns, if much has changed. Nothing is delivered any more when it `isOver`. */
  async flushInTurns(sink: Sink, isOver: () => boolean): Promise<void> {
    if (this.#touched.size <= atOnce) return void this.flush(sink)
    const turns = new Turns()
    do {
      await turns.begin()
      if (isOver()) return
    } while (!this.flush(sink, () => turns.isOver))
  }

  /** Whether the cluster has policies about Pods, delivered or not. */
  get hasPolicies(): boolean {
    return this.#loose.hasPolicies
  }

  /** Policies are not delivered while they are held. */
  holdPolicies(isHeld: boolean): void {
    this.#loose.holdsPolicies = isHeld
  }

  /** Services that are not assembled yet. */
  get waiting(): number {
    return this.#touched.size
  }

  /** Assembles what has changed in turns, for a `reset` that follows and then has little to do. */
  async prepare(): Promise<void> {
    for await (const key of inTurns(this.#touched)) {
      this.#touched.delete(key)
      this.#settleService(key, nobody)
    }
  }

  /** Delivers everything: also after a loss, during which the sink may have dropped what it had. */
  reset(sink: Sink): void {
    this.#begun = true
    this.#settle(nobody)
    sink.reset({
      services: [...this.#delivered.values()],
      namespaces: [...this.#deliveredNamespaces.values()],
      ...this.#loose.snapshot(),
      nodes: [...this.#nodes.values()],
      gateways: this.#gateways.all(),
    })
    this.#isLost = false
    this.#checkSizes(sink)
  }

  #checkSizes(sink: Sink): void {
    const [first] = this.#oversized
    const isLost = first !== undefined
    if (isLost === this.#isLost) return
    this.#isLost = isLost
    if (!first) return sink.live()
    const [key, count] = first
    const found = `${key} has ${count} endpoints, more than ${this.#maxEndpoints}`
    sink.lost(new MeshError('SOURCE_LIMIT', overLimitsText('serviceEndpoints', found)))
  }

  #settle(sink: Changes, isEnough = () => false): boolean {
    this.#settleCluster(sink)
    for (const key of this.#touched) {
      this.#touched.delete(key)
      this.#settleService(key, sink)
      if (this.#touched.size > 0 && isEnough()) return false
    }
    return true
  }

  #settleCluster(sink: Changes): void {
    if (this.#touchedNodes.size > 0) this.#settleNodes(sink)
    for (const name of this.#touchedNamespaces) this.#settleNamespace(name, sink)
    this.#touchedNamespaces.clear()
  }

  /** A zone that has another region now concerns any service; this happens only when zones come or go. */
  #settleNodes(sink: Changes): void {
    for (const [name, before] of this.#touchedNodes) {
      const after = this.#nodes.get(name)
      if (after && !isDeepStrictEqual(before, after)) sink.putNode?.(after)
      else if (before && !after) sink.dropNode?.(name)
    }
    this.#touchedNodes.clear()
    const regions = new Map<string, string>()
    for (const { zone, region } of this.#nodes.values()) if (zone && region) regions.set(zone, region)
    if (isDeepStrictEqual(regions, this.#regions)) return
    this.#regions = regions
    for (const portion of this.#portions.values()) this.#resolveAgain(portion)
  }

  #settleNamespace(name: string, sink: Changes): void {
    const before = this.#deliveredNamespaces.get(name)
    const after = this.#namespaces.get(name)
    if (after) this.#deliveredNamespaces.set(name, after)
    else this.#deliveredNamespaces.delete(name)
    if (after && (!before || !isDeepStrictEqual(before, after))) sink.putNamespace(after)
    else if (before && !after) sink.dropNamespace(name)
  }

  #settleService(key: ServiceKey, sink: Changes): void {
    const before = this.#delivered.get(key)
    const after = this.#assemble(key)
    if (after && before && isSame(before, after)) return
    if (after) {
      this.#delivered.set(key, after)
      sink.put(after)
    } else if (before) {
      this.#delivered.delete(key)
      sink.drop(before.namespace, before.name)
    }
  }

  #assemble(key: ServiceKey): ClusterService | undefined {
    const parts = this.#parts.get(key)
    const declaration = parts && this.#declarationOf(parts)
    this.#oversized.delete(key)
    if (!parts || !declaration) return undefined
    const { declared, imported, derivedFrom } = parts
    const { origin, portions } = declaration
    const spec = withExport(declaration.spec, parts.exported?.object.standIn?.spec)
    const { namespace, name } = declared?.object ?? imported?.object ?? refOf(key)
    // An import is a service of other clusters: this one exports nothing under its name.
    const exported = spec.imported ? undefined : parts.exported?.object
    const serviceImport = this.#importOf(parts)
    const imports = serviceImport?.endpoints.length ?? 0
    const count = portions.reduce((sum, { object }) => sum + object.endpoints.length, imports)
    if (count > this.#maxEndpoints) {
      this.#oversized.set(key, count)
      return this.#delivered.get(key)
    }
    const resolved = portions.map(portion => this.#resolve(portion, spec.publishNotReadyAddresses))
    const { endpoints, isPlain } = joinAgain(resolved, parts.plain)
    parts.plain = isPlain ? endpoints : undefined
    return {
      cluster: this.#cluster,
      namespace,
      name,
      ...spec,
      ...(exported && { exported: exported.exported }),
      ...(serviceImport && { serviceImport }),
      ...(imported?.object.derived !== undefined && { derived: imported.object.derived }),
      ...(declared && derivedFrom[0] !== undefined && { derivedFrom: derivedFrom[0] }),
      ...(portions.some(({ object }) => object.readyOnly) && { readyOnly: true as const }),
      endpoints,
      ...(origin !== undefined && { origin }),
    }
  }

  /** In this order: its Service, a ServiceImport, what its slices imply, what its export says. */
  #declarationOf({ declared, imported, exported, portions }: Parts): Declaration | undefined {
    if (declared) return { spec: declared.object.spec, origin: declared.origin, portions: this.#effective(portions) }
    // The endpoints of an import are in other clusters; local slices of that name are left over from a Service.
    if (imported) return { spec: imported.object.spec, origin: imported.origin, portions: [] }
    const standIn = exported?.object.standIn
    return (
      impliedDeclaration(this.#effective(portions), standIn?.spec) ??
      (standIn && {
        spec: standIn.spec,
        origin: exported?.origin,
        portions: this.#effective(this.#parts.get(standIn.backendsOf)?.portions ?? none),
      })
    )
  }

  /** Slices repeat the endpoints of older lists, so one of the two is used. */
  #effective(portions: readonly Portion[]): readonly Portion[] {
    const all = portions.filter(({ object }) => object.sourceCluster === undefined)
    const kind = this.#prefer === 'slices' ? 'EndpointSlice' : 'Endpoints'
    const preferred = all.filter(({ object }) => object.kind === kind)
    return preferred.length > 0 ? preferred : all
  }

  /** Undefined also for an import that has neither an address nor endpoints here. */
  #importOf({ imported, portions }: Parts): ServiceImport | undefined {
    if (!imported) return undefined
    const { headless, clusterIPs, ports } = imported.object.spec
    const byCluster = Map.groupBy(portions, ({ object }) => object.sourceCluster)
    byCluster.delete(undefined)
    const endpoints = [...byCluster].flatMap(([cluster = '', found]) =>
      joinEndpoints(found.map(portion => this.#resolve(portion, false))).map(endpoint => ({ ...endpoint, cluster })),
    )
    if (clusterIPs.length === 0 && endpoints.length === 0) return undefined
    return { headless, ips: clusterIPs, ports, endpoints }
  }

  #resolve(portion: Portion, unready: boolean): readonly Endpoint[] {
    if (portion.resolved?.unready !== unready) {
      unplace(portion)
      const context = {
        unready,
        nodeOf: (name: string) => this.#nodes.get(name),
        regionOf: (zone: string) => this.#regions.get(zone),
      }
      const { object } = portion
      const kept = portion.kept?.unready === unready ? portion.kept.endpoints : undefined
      portion.kept = undefined
      const endpoints = mapped(object.endpoints, (endpoint, i) => kept?.[i] ?? resolveEndpoint(endpoint, context))
      portion.resolved = { unready, endpoints }
      if (!unready && lackOnlyPlaces(object.endpoints)) {
        portion.object = { ...object, endpoints }
        portion.isPlaced = true
      }
    }
    return portion.resolved.endpoints
  }

  /** An equal description stays the same object. */
  #setService(object: ServiceObject, origin: string | undefined): void {
    const known = this.#parts.get(serviceKey(object.namespace, object.name))?.declared?.object.spec
    const spec = known && plainEqual(known, object.spec) ? known : object.spec
    this.#setParts(object, { declared: { object: { ...object, spec }, origin } })
  }

  #setParts({ namespace, name }: ObjectRef, change: Partial<Omit<Parts, 'portions' | 'plain'>>): void {
    const key = serviceKey(namespace, name)
    const parts = this.#partsOf(key)
    Object.assign(parts, change)
    this.#changed(key, parts)
  }

  /** Links the import and its derived Service, whichever of them comes first. */
  #setImport(ref: ObjectRef, imported: Parts['imported']): void {
    const before = this.#parts.get(serviceKey(ref.namespace, ref.name))?.imported?.object.derived
    const after = imported?.object.derived
    this.#setParts(ref, { imported })
    if (before === after) return
    for (const derived of [before, after]) {
      if (derived === undefined) continue
      const others = this.#partsOf(serviceKey(ref.namespace, derived)).derivedFrom.filter(name => name !== ref.name)
      const derivedFrom = derived === after ? [...others, ref.name].sort() : others
      this.#setParts({ ...ref, name: derived }, { derivedFrom })
    }
  }

  #setExport(ref: ObjectRef, exported: Parts['exported']): void {
    const key = serviceKey(ref.namespace, ref.name)
    const before = this.#parts.get(key)?.exported?.object.standIn
    if (before) this.#exportOf.delete(before.backendsOf)
    if (exported?.object.standIn) this.#exportOf.set(exported.object.standIn.backendsOf, key)
    this.#setParts(ref, { exported })
  }

  #putPortion(given: EndpointsObject, origin: string | undefined): void {
    const text = refText(given)
    const before = this.#portions.get(text)
    const key = before?.key ?? text
    const known = before && {
      declared: before.object.endpoints,
      resolved: before.resolved?.endpoints,
      isPlaced: before.isPlaced,
    }
    const again = known && keptEndpoints(known, given.endpoints)
    const object = again ? { ...given, endpoints: again.declared } : given
    const kept = before?.resolved && again && { unready: before.resolved.unready, endpoints: again.resolved }
    if (before?.object.service === object.service) this.#leaveNodes(before)
    else this.#removePortion(key)
    let nodes = noNodes
    for (const { node, zone } of object.endpoints) {
      if (node === undefined || zone !== undefined) continue
      if (nodes === noNodes) nodes = new Set()
      nodes.add(node)
    }
    const portion: Portion = { key, object, origin, isPlaced: false, nodes, resolved: undefined, kept }
    this.#portions.set(key, portion)
    const parts = this.#partsOf(object.service)
    parts.portions = withPortion(parts.portions, portion)
    for (const node of nodes) {
      const portions = this.#portionsOnNode.get(node)
      if (portions) portions.add(portion)
      else this.#portionsOnNode.set(node, new Set([portion]))
    }
    this.#touch(object.service)
  }

  #removePortion(key: string): void {
    const portion = this.#portions.get(key)
    if (!portion) return
    this.#portions.delete(key)
    this.#leaveNodes(portion)
    const parts = this.#partsOf(portion.object.service)
    parts.portions = parts.portions.filter(one => one !== portion)
    this.#changed(portion.object.service, parts)
  }

  #leaveNodes(portion: Portion): void {
    for (const node of portion.nodes) {
      const portions = this.#portionsOnNode.get(node)
      portions?.delete(portion)
      if (portions?.size === 0) this.#portionsOnNode.delete(node)
    }
  }

  #setNamespace(name: string, namespace: Namespace | undefined): void {
    if (namespace)
      this.#namespaces.set(name, {
        name,
        global: namespace.global,
        ...(namespace.labels && { labels: namespace.labels }),
      })
    else this.#namespaces.delete(name)
    this.#touchedNamespaces.add(name)
  }

  #setNodes(names: readonly string[]): void {
    for (const name of names) this.#setNode(name, this.#networks.node(name))
  }

  #setNode(name: string, node: Node | undefined): void {
    const before = this.#nodes.get(name)
    if (isDeepStrictEqual(before, node)) return
    if (node) this.#nodes.set(name, node)
    else this.#nodes.delete(name)
    if (!this.#touchedNodes.has(name)) this.#touchedNodes.set(name, before)
    if (before?.zone === node?.zone) return
    for (const portion of this.#portionsOnNode.get(name) ?? []) this.#resolveAgain(portion)
  }

  #resolveAgain(portion: Portion): void {
    unplace(portion)
    portion.resolved = undefined
    portion.kept = undefined
    this.#touch(portion.object.service)
  }

  /** Marks a service to be assembled again, and the exported one that uses its backends. */
  #touch(key: ServiceKey): void {
    this.#touched.add(key)
    const exported = this.#exportOf.get(key)
    if (exported !== undefined) this.#touched.add(exported)
  }

  #partsOf(key: ServiceKey): Parts {
    const known = this.#parts.get(key)
    if (known) return known
    const parts: Parts = {
      declared: undefined,
      imported: undefined,
      exported: undefined,
      derivedFrom: none,
      portions: none,
      plain: undefined,
    }
    this.#parts.set(key, parts)
    return parts
  }

  /** Forgets a name that has no parts left. */
  #changed(key: ServiceKey, parts: Parts): void {
    this.#touch(key)
    const { declared, imported, exported, derivedFrom, portions } = parts
    if (declared || imported || exported || derivedFrom.length > 0 || portions.length > 0) return
    this.#parts.delete(key)
  }
}

/** The same list where all stay what they are. */
function mapped(
  list: readonly DeclaredEndpoint[],
  to: (one: DeclaredEndpoint, place: number) => Endpoint,
): readonly Endpoint[] {
  const all = list.map(to)
  return all.every((one, i) => one === list[i]) ? (list as readonly Endpoint[]) : all
}

const none: readonly never[] = []
const noNodes = new Set<string>()

function refOf(key: ServiceKey): { namespace: string; name: string } {
  const [namespace = '', name = ''] = key.split('/')
  return { namespace, name }
}

const nobody: Changes = {
  put() {},
  drop() {},
  putNamespace() {},
  dropNamespace() {},
}

/** What was declared, without what was added to it. */
function unplace(portion: Portion): void {
  if (!portion.isPlaced) return
  const { object } = portion
  portion.object = { ...object, endpoints: object.endpoints.map(withoutPlace) }
  portion.isPlaced = false
}

/** By key, not by arrival, and in place of the one with its key. */
function withPortion(portions: readonly Portion[], portion: Portion): readonly Portion[] {
  const others = portions.filter(({ key }) => key !== portion.key)
  const place = others.findIndex(({ key }) => key > portion.key)
  return others.length === 0 ? [portion] : others.toSpliced(place === -1 ? others.length : place, 0, portion)
}

/** What a record of the service cannot say, an export that describes it says: its format has no affinity and no policies. */
function withExport(spec: ServiceSpec, exported: ServiceSpec | undefined): ServiceSpec {
  if (!exported || spec === exported) return spec
  const { ports, headless, sessionAffinity, families, internalTrafficPolicy, trafficDistribution } = exported
  return {
    ...spec,
    ...(spec.ports.length === 0 && { ports }),
    // A record without an address is that of a headless service, or of one whose address is not for other clusters.
    headless: spec.headless && headless,
    ...(sessionAffinity && { sessionAffinity }),
    ...(families && { families }),
    internalTrafficPolicy,
    ...(trafficDistribution !== undefined && { trafficDistribution }),
  }
}

/**
 * The service that slices describe where there is no other record of it: headless if one of them says so. The ports of slices
 * are those of the endpoints; where an export describes the service too, it has the service's own.
 */
function impliedDeclaration(portions: readonly Portion[], exported: ServiceSpec | undefined): Declaration | undefined {
  const implied = portions.flatMap(({ object }) => object.implied ?? [])
  const [first] = implied
  if (!first) return undefined
  const origin = portions[0]?.origin
  if (exported && exported.ports.length > 0) {
    return { spec: { ...exported, labels: first.spec.labels }, origin, portions }
  }
  const headless = implied.some(({ spec }) => spec.headless)
  const ports = joinPorts(implied.map(({ ports }) => ports))
  return { spec: { ...first.spec, headless, ports }, origin, portions }
}

/** Ignores where it was read: a line added above it in the file does not change a service. */
function isSame(a: ClusterService, b: ClusterService): boolean {
  const { length } = a.endpoints
  if (length !== b.endpoints.length) return false
  if (!same(a, b, ['origin', 'endpoints'])) return false
  // Of a slice that has not changed they are the very same.
  return a.endpoints.every((endpoint, i) => {
    const other = b.endpoints[i]
    return plainEqual(endpoint, other)
  })
}
