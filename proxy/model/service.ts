/** Services: as one cluster declares them, and merged from all clusters. */
import { endpointText, type Family, type Protocol } from './address.ts'
import type { Backend, Backends } from './backend.ts'

/** `namespace/name`: the join key of the mesh, and nothing else is (Cilium 1.3: labels, ports and types need not match). */
export type ServiceKey = string

export function serviceKey(namespace: string, name: string): ServiceKey {
  return `${namespace}/${name}`
}

export interface ServicePort {
  /** Empty for an unnamed port. */
  readonly name: string
  readonly protocol: Protocol
  readonly port: number
  readonly appProtocol?: string
}

export interface EndpointPort {
  readonly name: string
  readonly protocol: Protocol
  readonly port: number
}

/** One endpoint of one cluster, with the nil rules of Kubernetes already applied (ready nil = true, serving nil = ready). */
export interface Endpoint {
  /** Canonical. */
  readonly address: string
  readonly ports: readonly EndpointPort[]
  readonly ready: boolean
  readonly serving: boolean
  readonly terminating: boolean
  readonly hostname?: string
  readonly pod?: string
  readonly node?: string
  readonly zone?: string
  /** Zones that the EndpointSlice hints name. */
  readonly forZones?: readonly string[]
  /** `service.cilium.io/weight` of the EndpointSlice; 100 unless given, 0 takes the endpoint out for new flows. */
  readonly weight?: number
}

/**
 * A ServiceExport beside a service (KEP-1645): its cluster offers the service to all others. Whatever the exporting clusters
 * do not agree on is decided by the oldest export.
 */
export interface ServiceExport {
  /** Wall-clock milliseconds of its creation; undefined where the source does not say, which counts as the youngest. */
  readonly createdAt?: number
  /** `spec.exportedAnnotations` and `spec.exportedLabels`: meant for the service as all clusters see it. */
  readonly annotations: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
}

/** A service as one cluster declares it. Sources make these; nothing here depends on another cluster. */
export interface ClusterService {
  readonly cluster: string
  readonly namespace: string
  readonly name: string
  readonly type: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName'
  readonly headless: boolean
  readonly externalName?: string
  /** A ServiceImport in the place of a Service that this cluster does not have: a name of the clusterset alone. */
  readonly imported?: true
  /** The ServiceExport of its name, where there is one. It makes the service global, unless an annotation says otherwise. */
  readonly exported?: ServiceExport
  /** The Service of its cluster and namespace whose address stands for it in the clusterset, as its ServiceImport says. */
  readonly derived?: string
  /** The other way round: the service that this one was derived for. */
  readonly derivedFrom?: string
  /** Canonical; empty for headless and ExternalName. */
  readonly clusterIPs: readonly string[]
  readonly ports: readonly ServicePort[]
  readonly annotations: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
  readonly publishNotReadyAddresses: boolean
  /** Present for `sessionAffinity: ClientIP`. */
  readonly sessionAffinity?: { readonly timeoutMs: number }
  readonly internalTrafficPolicy: 'Cluster' | 'Local'
  readonly trafficDistribution?: string
  /** Over all EndpointSlices; an address may appear once. */
  readonly endpoints: readonly Endpoint[]
  /** Where it was read, for messages: `services.yaml:12`. */
  readonly origin?: string
}

/** A namespace of one cluster. `global` is false only where `clustermesh.cilium.io/global` says so (export gate, C13). */
export interface Namespace {
  readonly name: string
  readonly global: boolean
}

/** A Pod that runs or may come to, as far as DNS names it: `pods: verified`. */
export interface Pod {
  readonly namespace: string
  readonly name: string
  /** Canonical; one for each family. */
  readonly addresses: readonly string[]
}

/** What the local cluster's Service asks of the mesh: annotations and spec, decoded once per change. */
export interface Settings {
  readonly global: boolean
  readonly shared: boolean
  readonly affinity: 'local' | 'remote' | 'none'
  /** `starlane.dev/affinity`: clusters in order of preference; those not named come last. Empty when absent. */
  readonly clusterOrder: readonly string[]
  /** `starlane.dev/min-healthy-local`: below it remote backends join in. */
  readonly minHealthyLocal?: { readonly count: number } | { readonly percent: number }
  /** `starlane.dev/cluster-weights`: shares by cluster, whatever the number of their backends. */
  readonly clusterWeights?: Readonly<Record<string, number>>
  readonly sessionAffinity?: { readonly timeoutMs: number }
}

/** One address and port that clients dial, always of the local cluster. */
export interface Frontend {
  /** `127.96.0.10:80/TCP`, unique in the directory. */
  readonly key: string
  readonly service: ServiceKey
  readonly ip: string
  readonly port: number
  readonly protocol: Protocol
  readonly name: string
  /**
   * Every backend whose protocol, family and port name match this frontend and that is not in maintenance: where the
   * chain starts. Down and terminating ones are in it, since affinity counts them; `select` leaves them out at the end.
   * The same array as long as the service is not replaced, so that decisions can be remembered by its identity.
   */
  readonly backends: Backends
}

/** What the clusters that export a service make of it together, whatever each of them declares. */
export interface Clusterset {
  /** Those that export it, in the order of the configuration. */
  readonly clusters: readonly string[]
  readonly headless: boolean
  readonly ports: readonly ServicePort[]
  /** What all clusters have in common, as far as they have anything; empty where no export has an address. */
  readonly families: readonly Family[]
  readonly sessionAffinity?: { readonly timeoutMs: number }
  readonly internalTrafficPolicy: 'Cluster' | 'Local'
  readonly trafficDistribution?: string
  readonly annotations: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
  readonly conflicts: readonly ExportConflict[]
}

/** Something that the exports do not agree on. */
export interface ExportConflict {
  /** A reason of the `Conflict` condition, as the API spells it. */
  readonly reason: string
  /** What is at issue, who wins and why, and who wants what instead. */
  readonly message: string
}

/** A service as the data path sees it: merged from all clusters, frozen, replaced whole when anything about it changes. */
export interface GlobalService {
  readonly key: ServiceKey
  readonly namespace: string
  readonly name: string
  /**
   * The local cluster's own declaration, or what stands in for it: a ServiceImport, or what the exports of other clusters
   * come to. Undefined while nothing of this cluster asks for the service: no frontend, no name in DNS.
   */
  readonly local: ClusterService | undefined
  /** What each cluster that takes part declares, local first; headless DNS answers come from here. */
  readonly members: readonly ClusterService[]
  readonly settings: Settings
  /** What the clusters that export it agreed on; undefined while none does. */
  readonly clusterset?: Clusterset
  readonly frontends: readonly Frontend[]
  /** All backends that take part, those of maintenance too, local cluster first, then by address and port. */
  readonly backends: Backends
  /** Remote backends that are known but take no part, since the local Service is missing or not global. */
  readonly parked: Backends
  /** Wall-clock milliseconds of the last change. */
  readonly changedAt: number
}

export function frontendKey(ip: string, port: number, protocol: Protocol): string {
  return `${endpointText(ip, port)}/${protocol}`
}

/** Whether a backend may serve a frontend's port: by name, never by number (Cilium 1.3 `matchesFrontend`). */
export function portMatches(
  frontend: { readonly name: string; readonly protocol: Protocol; readonly family: Family | undefined },
  backend: Backend,
): boolean {
  if (frontend.protocol !== backend.protocol) return false
  if (frontend.family !== undefined && frontend.family !== backend.family) return false
  return frontend.name === '' || backend.ports.length === 0 || backend.ports.includes(frontend.name)
}
