import { isDeepStrictEqual } from 'node:util'
import {
  type ClusterService,
  type Endpoint,
  type Namespace,
  type Pod,
  type ServiceExport,
  type ServiceKey,
  serviceKey,
} from '../model/service.ts'
import {
  type EndpointsObject,
  type ImportObject,
  type KubernetesObject,
  type ObjectRef,
  refText,
  type ServiceObject,
} from './decode/objects.ts'
import { joinEndpoints, resolveEndpoint } from './join-endpoints.ts'
import type { Sink } from './source.ts'

/** Everything known under one service's name. Parts may come before their Service, and stay when it goes. */
interface Parts {
  declared: Placed<ServiceObject> | undefined
  /** Counts while nothing is declared. */
  imported: Placed<ImportObject> | undefined
  exported: ServiceExport | undefined
  /** The names of the services whose imports call this one their derived Service, in order; one, if all is well. */
  derivedFrom: readonly string[]
  readonly portions: Map<string, Portion>
}

interface Placed<T> {
  readonly object: T
  readonly origin: string | undefined
}

/** The endpoints that one object contributes. */
interface Portion {
  readonly object: EndpointsObject
  /** Nodes that must be asked for zones. */
  readonly nodes: ReadonlySet<string>
  /** What Service and nodes make of the endpoints, kept as long as they stay the same. */
  resolved: { readonly unready: boolean; readonly endpoints: readonly Endpoint[] } | undefined
}

type Changes = Pick<Sink, 'put' | 'drop' | 'putNamespace' | 'dropNamespace' | 'putPod' | 'dropPod'>

/**
 * Puts one cluster's services together out of single objects, in whatever order these come. A change costs as much as the
 * service it belongs to, and a burst of changes costs each service once, since nothing is worked out before `flush`.
 */
export class Assembler {
  readonly #cluster: string
  readonly #parts = new Map<ServiceKey, Parts>()
  /** By the name of the object, since a slice is removed by its own name and may pass from one service to another. */
  readonly #portions = new Map<string, Portion>()
  readonly #zones = new Map<string, string>()
  readonly #portionsOnNode = new Map<string, Set<Portion>>()
  readonly #namespaces = new Map<string, Namespace>()
  readonly #pods = new Map<string, Pod>()
  /** Changed since the last flush. */
  readonly #touched = new Set<ServiceKey>()
  readonly #touchedNamespaces = new Set<string>()
  /** With what the sink has of them: there are too many to keep that of all. */
  readonly #touchedPods = new Map<string, Pod | undefined>()
  /** As the sink has them. */
  readonly #delivered = new Map<ServiceKey, ClusterService>()
  readonly #deliveredNamespaces = new Map<string, Namespace>()
  #begun = false

  constructor(cluster: string) {
    this.#cluster = cluster
  }

  /** A new object, or the new state of a known one. `origin` is where it was read, for messages. */
  put(object: KubernetesObject, origin?: string): void {
    if (object.kind === 'Service') this.#setParts(object, { declared: { object, origin } })
    else if (object.kind === 'ServiceImport') this.#setImport(object, { object, origin })
    else if (object.kind === 'ServiceExport') this.#setParts(object, { exported: object.said })
    else if (object.kind === 'Namespace') this.#setNamespace(object.name, object)
    else if (object.kind === 'Node') this.#setZone(object.name, object.zone)
    else if (object.kind === 'Pod') this.#setPod(object, object.pod)
    else this.#putPortion(object)
  }

  /** Nothing happens when the object is not known. */
  remove(ref: ObjectRef): void {
    if (ref.kind === 'Service') this.#setParts(ref, { declared: undefined })
    else if (ref.kind === 'ServiceImport') this.#setImport(ref, undefined)
    else if (ref.kind === 'ServiceExport') this.#setParts(ref, { exported: undefined })
    else if (ref.kind === 'Namespace') this.#setNamespace(ref.name, undefined)
    else if (ref.kind === 'Node') this.#setZone(ref.name, undefined)
    else if (ref.kind === 'Pod') this.#setPod(ref, undefined)
    else this.#removePortion(refText(ref))
  }

  /** Delivers exactly what is different from what the sink has; the first time the whole, as a reset. */
  flush(sink: Sink): void {
    if (this.#begun) this.#settle(sink)
    else this.reset(sink)
  }

  /** Delivers the whole: also after a loss, which may have made the sink give up what it had. */
  reset(sink: Sink): void {
    this.#begun = true
    this.#settle(nobody)
    sink.reset({
      services: [...this.#delivered.values()],
      namespaces: [...this.#deliveredNamespaces.values()],
      pods: [...this.#pods.values()],
    })
  }

  #settle(sink: Changes): void {
    for (const name of this.#touchedNamespaces) this.#settleNamespace(name, sink)
    for (const key of this.#touched) this.#settleService(key, sink)
    for (const [key, before] of this.#touchedPods) settlePod(before, this.#pods.get(key), sink)
    this.#touchedNamespaces.clear()
    this.#touchedPods.clear()
    this.#touched.clear()
  }

  #settleNamespace(name: string, sink: Changes): void {
    const before = this.#deliveredNamespaces.get(name)
    const after = this.#namespaces.get(name)
    if (after) this.#deliveredNamespaces.set(name, after)
    else this.#deliveredNamespaces.delete(name)
    if (after && before?.global !== after.global) sink.putNamespace(after)
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
    const standing = parts?.declared ?? parts?.imported
    if (!parts || !standing) return undefined
    const { object, origin } = standing
    const { namespace, name, spec } = object
    // What an import stands for has its endpoints elsewhere; slices of that name are left over from a Service.
    const portions = parts.declared ? countingPortions(parts) : []
    const slices = portions.map(portion => this.#resolve(portion, spec.publishNotReadyAddresses))
    return {
      cluster: this.#cluster,
      namespace,
      name,
      ...spec,
      ...(parts.declared && parts.exported && { exported: parts.exported }),
      ...(parts.imported?.object.derived !== undefined && { derived: parts.imported.object.derived }),
      ...(parts.declared && parts.derivedFrom[0] !== undefined && { derivedFrom: parts.derivedFrom[0] }),
      endpoints: joinEndpoints(slices),
      ...(origin !== undefined && { origin }),
    }
  }

  #resolve(portion: Portion, unready: boolean): readonly Endpoint[] {
    if (portion.resolved?.unready !== unready) {
      const surroundings = {
        unready,
        zoneOf: (node: string) => this.#zones.get(node),
      }
      const endpoints = portion.object.endpoints.map(endpoint => resolveEndpoint(endpoint, surroundings))
      portion.resolved = { unready, endpoints }
    }
    return portion.resolved.endpoints
  }

  #setParts({ namespace, name }: ObjectRef, change: Partial<Omit<Parts, 'portions'>>): void {
    const key = serviceKey(namespace, name)
    const parts = this.#partsOf(key)
    Object.assign(parts, change)
    this.#changed(key, parts)
  }

  /** Ties the import and its derived Service to each other, whichever of them comes first. */
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

  #putPortion(object: EndpointsObject): void {
    const key = refText(object)
    this.#removePortion(key)
    const nodes = new Set<string>()
    for (const { node, zone } of object.endpoints) if (node !== undefined && zone === undefined) nodes.add(node)
    const portion: Portion = { object, nodes, resolved: undefined }
    this.#portions.set(key, portion)
    this.#partsOf(object.service).portions.set(key, portion)
    for (const node of nodes) {
      const portions = this.#portionsOnNode.get(node)
      if (portions) portions.add(portion)
      else this.#portionsOnNode.set(node, new Set([portion]))
    }
    this.#touched.add(object.service)
  }

  #removePortion(key: string): void {
    const portion = this.#portions.get(key)
    if (!portion) return
    this.#portions.delete(key)
    for (const node of portion.nodes) {
      const portions = this.#portionsOnNode.get(node)
      portions?.delete(portion)
      if (portions?.size === 0) this.#portionsOnNode.delete(node)
    }
    const parts = this.#partsOf(portion.object.service)
    parts.portions.delete(key)
    this.#changed(portion.object.service, parts)
  }

  #setNamespace(name: string, namespace: Namespace | undefined): void {
    if (namespace) this.#namespaces.set(name, { name, global: namespace.global })
    else this.#namespaces.delete(name)
    this.#touchedNamespaces.add(name)
  }

  #setPod(ref: ObjectRef, pod: Pod | undefined): void {
    const key = refText(ref)
    const before = this.#pods.get(key)
    if (!this.#touchedPods.has(key)) this.#touchedPods.set(key, before)
    if (pod) this.#pods.set(key, pod)
    else this.#pods.delete(key)
  }

  #setZone(node: string, zone: string | undefined): void {
    if (this.#zones.get(node) === zone) return
    if (zone === undefined) this.#zones.delete(node)
    else this.#zones.set(node, zone)
    for (const portion of this.#portionsOnNode.get(node) ?? []) {
      portion.resolved = undefined
      this.#touched.add(portion.object.service)
    }
  }

  #partsOf(key: ServiceKey): Parts {
    const known = this.#parts.get(key)
    if (known) return known
    const parts: Parts = {
      declared: undefined,
      imported: undefined,
      exported: undefined,
      derivedFrom: [],
      portions: new Map(),
    }
    this.#parts.set(key, parts)
    return parts
  }

  /** Nothing is remembered of a name that nobody uses any more. */
  #changed(key: ServiceKey, parts: Parts): void {
    this.#touched.add(key)
    const { declared, imported, exported, derivedFrom, portions } = parts
    if (declared || imported || exported || derivedFrom.length > 0 || portions.size > 0) return
    this.#parts.delete(key)
  }
}

const nobody: Changes = {
  put() {},
  drop() {},
  putNamespace() {},
  dropNamespace() {},
  putPod() {},
  dropPod() {},
}

function settlePod(before: Pod | undefined, after: Pod | undefined, sink: Changes): void {
  if (after && !isDeepStrictEqual(before, after)) sink.putPod(after)
  else if (before && !after) sink.dropPod(before.namespace, before.name)
}

/** In an order of their own, not that of arrival. Kubernetes mirrors Endpoints into slices: they count only without any. */
function countingPortions({ portions }: Parts): Portion[] {
  const all = [...portions].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, portion]) => portion)
  const slices = all.filter(({ object }) => object.kind === 'EndpointSlice')
  return slices.length > 0 ? slices : all
}

/** Where it was read is left out: a line added above it in the file is no change of a service. */
function isSame(a: ClusterService, b: ClusterService): boolean {
  return isDeepStrictEqual({ ...a, origin: undefined }, { ...b, origin: undefined })
}
