/**
 * Services of one cluster, made of what its records say: service records or slices, exports beside them, and nodes for zones. The
 * backends of a ServiceExport travel under the name of its derived Service (Cilium 4.3), and come back here to the exported one.
 */
import { prefixOf } from '../../clients/clustermesh.ts'
import type { ClusterConfig } from '../../clients/etcd/cluster-config.ts'
import type { Reading } from '../../clients/etcd/session.ts'
import { derivedServiceName } from '../../model/multicluster.ts'
import { type ClusterService, type Endpoint, type ServiceKey, serviceKey } from '../../model/service.ts'
import type { Sink } from '../source.ts'
import { Catalog, type CatalogListener, problemsOf } from './catalog.ts'
import { decodeNode, decodeService, decodeServiceExport, type ExportSaid, type RemoteNode } from './decode-cilium.ts'
import { decodeSlice, type Slice, serviceOfSlices } from './decode-slices.ts'
import { exported, type Owner } from './records.ts'

/** How much of the other side is known, for people. */
export interface Extent {
  readonly nodes: number
  readonly serviceExports: number
}

/** One record of a service: a whole one, or one of its slices. */
type Part = { readonly service: ServiceKey } & ({ readonly whole: ClusterService } | { readonly slice: Slice })

export interface CompositionOptions {
  readonly owner: Owner
  readonly config: ClusterConfig
  /** Slices in place of service records. */
  readonly slices: boolean
  readonly sink: Sink
}

export class Composition {
  #owner: Owner
  #sink: Sink
  #parts = new Map<ServiceKey, Map<string, Part>>()
  #exports = new Map<ServiceKey, ExportSaid>()
  /** From the derived Service to the export. */
  #derived = new Map<ServiceKey, ServiceKey>()
  #zones = new Map<string, string | undefined>()
  /** Services whose endpoints have the zone of their node. */
  #onNode = new Map<string, Set<ServiceKey>>()
  #touched = new Set<ServiceKey>()
  #delivered = new Set<ServiceKey>()
  #isListed = false
  #toldChanges = 0
  readonly #catalogs: readonly Catalog<unknown>[]
  readonly readings: readonly [Reading, ...Reading[]]

  constructor({ owner, config: { cached, serviceExports }, slices, sink }: CompositionOptions) {
    this.#owner = owner
    this.#sink = sink
    const prefix = (resource: Reading['resource']) => prefixOf(resource, owner.cluster, cached)
    const main = slices ? 'endpointslices' : 'services'
    const services = new Catalog<Part>({
      prefix: prefix(main),
      decode: (suffix, value) => (slices ? slicePart(suffix, value, owner) : wholePart(suffix, value, owner)),
      listener: this.#hearing((key, before, after) => this.#partSaid(key, before, after), true),
    })
    const exports = new Catalog<ExportSaid>({
      prefix: prefix('serviceexports'),
      decode: (suffix, value) => decodeServiceExport(suffix, value, owner),
      listener: this.#hearing((_key, before, after) => this.#exportSaid(before, after)),
    })
    const nodes = new Catalog<RemoteNode>({
      prefix: prefix('nodes'),
      decode: (suffix, value) => decodeNode(suffix, value, owner),
      listener: this.#hearing((_key, before, after) => this.#nodeSaid((after ?? before)?.name ?? '', after)),
    })
    this.#catalogs = [services, exports, nodes]
    this.readings = [
      { resource: main, listener: services },
      { resource: 'nodes', listener: nodes, optional: true },
      ...(serviceExports === undefined
        ? []
        : [{ resource: 'serviceexports', listener: exports, optional: true } as const]),
    ]
  }

  get extent(): Extent {
    return { nodes: this.#zones.size, serviceExports: this.#exports.size }
  }

  #hearing<Said>(said: CatalogListener<Said>['said'], isMain = false): CatalogListener<Said> {
    const settle = (): void => this.#settle()
    return { said, changed: settle, listed: isMain ? () => this.#reset() : settle }
  }

  #partSaid(key: string, before: Part | undefined, after: Part | undefined): void {
    if (before && before.service !== after?.service) {
      const siblings = this.#parts.get(before.service)
      siblings?.delete(key)
      if (siblings?.size === 0) this.#parts.delete(before.service)
      this.#touch(before.service)
    }
    if (!after) return
    const siblings = this.#parts.get(after.service)
    if (siblings) siblings.set(key, after)
    else this.#parts.set(after.service, new Map([[key, after]]))
    this.#touch(after.service)
  }

  #exportSaid(before: ExportSaid | undefined, after: ExportSaid | undefined): void {
    const { namespace, name } = (after ?? before) as ExportSaid
    const key = serviceKey(namespace, name)
    const derived = serviceKey(namespace, derivedServiceName(namespace, name))
    if (after) {
      this.#exports.set(key, after)
      this.#derived.set(derived, key)
    } else {
      this.#exports.delete(key)
      this.#derived.delete(derived)
    }
    this.#touch(key)
  }

  #nodeSaid(name: string, node: { readonly zone?: string } | undefined): void {
    const before = this.#zones.get(name)
    if (node) this.#zones.set(name, node.zone)
    else this.#zones.delete(name)
    if (before === node?.zone) return
    for (const key of this.#onNode.get(name) ?? []) this.#touch(key)
    this.#onNode.delete(name)
  }

  #touch(key: ServiceKey): void {
    this.#touched.add(key)
    const exportOf = this.#derived.get(key)
    if (exportOf !== undefined) this.#touched.add(exportOf)
  }

  /** All of the services is known: whatever is not there is gone. */
  #reset(): void {
    this.#isListed = true
    this.#touched.clear()
    const keys = new Set([...this.#parts.keys(), ...this.#exports.keys()])
    const services = [...keys].flatMap(key => this.#composed(key) ?? [])
    this.#delivered = keys
    this.#sink.reset({ services, namespaces: [] })
    this.#tellProblems()
  }

  /** Until all of the services is known, nothing is told of one. */
  #settle(): void {
    if (!this.#isListed) return
    for (const key of this.#touched) this.#deliver(key)
    this.#touched.clear()
    this.#tellProblems()
  }

  #deliver(key: ServiceKey): void {
    const service = this.#composed(key)
    if (service) {
      this.#delivered.add(key)
      this.#sink.put(service)
    } else if (this.#delivered.delete(key)) {
      const [namespace = '', name = ''] = key.split('/')
      this.#sink.drop(namespace, name)
    }
  }

  #composed(key: ServiceKey): ClusterService | undefined {
    const own = this.#recorded(key)
    const said = this.#exports.get(key)
    if (!said) return own
    const { namespace, name, headless, ports, sessionAffinity, exported: asExport } = said
    if (own) return { ...own, ...(own.ports.length === 0 ? { ports } : {}), exported: asExport }
    const derived = this.#recorded(serviceKey(namespace, derivedServiceName(namespace, name)))
    return {
      ...exported({ namespace, name }, this.#owner),
      headless,
      // The address of a derived Service stays at home, as that of a slice's does.
      clusterIPs: [],
      ports,
      labels: {},
      ...(sessionAffinity ? { sessionAffinity } : {}),
      endpoints: derived?.endpoints ?? [],
      exported: asExport,
    }
  }

  #recorded(key: ServiceKey): ClusterService | undefined {
    const [first, ...more] = this.#parts.get(key)?.values() ?? []
    if (!first) return undefined
    if ('whole' in first) return first.whole
    const slices = more.flatMap(part => ('slice' in part ? part.slice : []))
    const service = serviceOfSlices([first.slice, ...slices], this.#owner)
    return { ...service, endpoints: service.endpoints.map(endpoint => this.#zoned(key, endpoint)) }
  }

  #zoned(key: ServiceKey, endpoint: Endpoint): Endpoint {
    const { node, zone: given } = endpoint
    if (node === undefined || given !== undefined) return endpoint
    const services = this.#onNode.get(node)
    if (services) services.add(key)
    else this.#onNode.set(node, new Set([key]))
    const zone = this.#zones.get(node)
    return zone === undefined ? endpoint : { ...endpoint, zone }
  }

  #tellProblems(): void {
    const changes = this.#catalogs.reduce((sum, { faultChanges }) => sum + faultChanges, 0)
    if (changes === this.#toldChanges) return
    this.#toldChanges = changes
    this.#sink.problems(problemsOf(this.#catalogs))
  }
}

function wholePart(suffix: string, value: Uint8Array, owner: Owner): Part | undefined {
  const whole = decodeService(suffix, value, owner)
  return whole && { service: serviceKey(whole.namespace, whole.name), whole }
}

function slicePart(suffix: string, value: Uint8Array, owner: Owner): Part {
  const slice = decodeSlice(suffix, value, owner)
  return { service: serviceKey(slice.namespace, slice.service), slice }
}
