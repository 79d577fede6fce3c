/** Services: as one cluster declares them, and merged from all clusters. */

import { endpointText, type Family, type Protocol } from './address.ts'
import type { Backend, Backends } from './backend.ts'
import { joined } from './text/joined.ts'
import type { Labels, Workload } from './workloads/identity.ts'

/** `namespace/name`: the only join key of the mesh. As in Cilium, labels, ports and types need not match. */
export type ServiceKey = string

export function serviceKey(namespace: string, name: string): ServiceKey {
  return joined(namespace, '/', name)
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

/**
 * One endpoint of one cluster: an address with its ports, as one object lists it, with the defaults of Kubernetes applied
 * (ready nil = true, serving nil = ready). Everything here belongs to these ports alone: another endpoint may have the same
 * address (pods on the host network, an address that is used again while its old pod terminates).
 */
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
  /** The region of its zone, from the nodes of the cluster. */
  readonly region?: string
  /** Zones that the EndpointSlice hints name. */
  readonly forZones?: readonly string[]
  /** `service.cilium.io/weight` of the EndpointSlice; by default 100; 0 excludes the endpoint from new flows. */
  readonly weight?: number
}

/**
 * Which of several endpoints has an address and port: the one with the lowest number. As in kube-proxy (endpointslicecache.go),
 * one that does not terminate comes before one that does, since an address may be used again before its old pod is gone; among
 * these a ready one, then one that serves.
 */
export function precedenceOf({ ready, serving, terminating }: Endpoint): number {
  return (terminating ? 3 : 0) + (ready ? 0 : serving ? 1 : 2)
}

/**
 * The ServiceExport of a service (KEP-1645): its cluster offers the service to all others. If exports differ, the
 * one of the first cluster decides.
 */
export interface ServiceExport {
  /** Wall-clock milliseconds of its creation; undefined if the source does not have it, which counts as the youngest. */
  readonly createdAt?: number
  /** `spec.exportedAnnotations` and `spec.exportedLabels`, for the service in the clusterset. */
  readonly annotations: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
}

/**
 * The ServiceImport of a name as another implementation of the API keeps it in a cluster, with the endpoints that it has put there.
 * Only names in the clusterset are answered from it: connections to its addresses are that implementation's.
 */
export interface ServiceImport {
  readonly headless: boolean
  /** `spec.ips`, canonical. Empty if headless, or if a derived Service has the address. */
  readonly ips: readonly string[]
  readonly ports: readonly ServicePort[]
  readonly endpoints: readonly ImportedEndpoint[]
}

export interface ImportedEndpoint extends Endpoint {
  /** As its EndpointSlice has it (`multicluster.kubernetes.io/source-cluster`), in lower case. */
  readonly cluster: string
}

/** A service as one cluster declares it, made by its source. Nothing in it depends on another cluster. */
export interface ClusterService {
  readonly cluster: string
  readonly namespace: string
  readonly name: string
  readonly type: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName'
  readonly headless: boolean
  readonly externalName?: string
  /** True for a ServiceImport without a Service in this cluster: it has a name only in the clusterset. */
  readonly imported?: true
  /** Its ServiceImport, if another implementation has put addresses or endpoints of it into the cluster. */
  readonly serviceImport?: ServiceImport
  /** Its ServiceExport, if there is one. It makes the service global, unless an annotation says otherwise. */
  readonly exported?: ServiceExport
  /** The name of its derived Service, whose address is the clusterset IP, as its ServiceImport says. */
  readonly derived?: string
  /** For a derived Service, the name of the service that it was derived for. */
  readonly derivedFrom?: string
  /** Canonical; empty for headless and ExternalName. */
  readonly clusterIPs: readonly string[]
  /** `spec.ipFamilies`, where its source has them; also for a headless service. Absent: those of `clusterIPs`. */
  readonly families?: readonly Family[]
  readonly ports: readonly ServicePort[]
  readonly annotations: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
  readonly publishNotReadyAddresses: boolean
  /** Present for `sessionAffinity: ClientIP`. */
  readonly sessionAffinity?: { readonly timeoutMs: number }
  readonly internalTrafficPolicy: 'Cluster' | 'Local'
  readonly trafficDistribution?: string
  /** True if its endpoints come from a list without conditions (Cilium's `services/v1`): it omits those that are not ready. */
  readonly readyOnly?: true
  /** From all EndpointSlices. An address may appear several times, with other ports or for another pod. */
  readonly endpoints: readonly Endpoint[]
  /** Where it was read from, for messages: `services.yaml:12`. */
  readonly origin?: string
}

/** The proxy that a Service is left to, by its label `service.kubernetes.io/service-proxy-name`; undefined: any. */
export function proxyNameOf({ labels }: ClusterService): string | undefined {
  return labels['service.kubernetes.io/service-proxy-name']
}

/** A namespace of one cluster. `global` is false only if its annotation `clustermesh.cilium.io/global` says so. */
export interface Namespace {
  readonly name: string
  /** Undefined: not marked either way. */
  readonly global: boolean | undefined
  readonly labels?: Labels
}

/** A Pod that has an address. */
export interface Pod {
  readonly namespace: string
  readonly name: string
  /** Canonical; one for each family. */
  readonly addresses: readonly string[]
  /** Absent where only addresses are read (`dns.pods: verified`). */
  readonly workload?: Workload
  /** True for one on the network of its node: its addresses are those of the node. */
  readonly hostNetwork?: true
  /** The canonical address of its node. */
  readonly hostAddress?: string
}

/** The settings of a service, decoded from the annotations and spec of the local Service once per change. */
export interface Settings {
  readonly global: boolean
  readonly shared: boolean
  readonly affinity: 'local' | 'remote' | 'none'
  /** `starlane.dev/affinity`: clusters in order of preference; those not named come last. Empty when absent. */
  readonly clusterOrder: readonly string[]
  /** `starlane.dev/min-healthy-local`: below it remote backends are added. */
  readonly minHealthyLocal?: { readonly count: number } | { readonly percent: number }
  /** `starlane.dev/cluster-weights`: shares by cluster, independent of the number of their backends. */
  readonly clusterWeights?: Readonly<Record<string, number>>
  readonly sessionAffinity?: { readonly timeoutMs: number }
  /** `starlane.dev/send-proxy: v2`: connections to backends begin with a header of the PROXY protocol. */
  readonly sendProxy?: true
  /** `spec.trafficDistribution`; PreferClose is an older name of PreferSameZone. */
  readonly trafficDistribution?: 'PreferSameZone' | 'PreferSameNode'
}

/** One address and port that clients connect to, always of the local cluster. */
export interface Frontend {
  /** `127.96.0.10:80/TCP`, unique in the directory. */
  readonly key: string
  readonly service: ServiceKey
  readonly ip: string
  readonly port: number
  readonly protocol: Protocol
  readonly name: string
  /** The port of the Service, where another one is listened on (`proxy.vips.ports`). */
  readonly declared?: number
  /**
   * The backends that the chain starts from: all whose protocol, family and port name match, except those in maintenance.
   * It includes down and terminating ones, since affinity counts them; `select` removes them at the end. The array is the same
   * until the service is replaced, so that decisions can be memoized by its identity.
   */
  readonly backends: Backends
  /** Those that are not demoted; absent while none is, which is the rule. */
  readonly fresh?: Backends
}

/** Ports of a service as clients must dial them: those that are listened on. */
export function dialledPorts(frontends: readonly Frontend[], ports: readonly ServicePort[]): readonly ServicePort[] {
  if (frontends.every(({ declared }) => declared === undefined)) return ports
  return ports.map(port => {
    const frontend = frontends.find(each => each.declared === port.port && each.protocol === port.protocol)
    return frontend ? { ...port, port: frontend.port } : port
  })
}

/** The service in the clusterset: the merged exports of all clusters. */
export interface Clusterset {
  /** The exporting clusters, in the order of the configuration. */
  readonly clusters: readonly string[]
  readonly headless: boolean
  readonly ports: readonly ServicePort[]
  /** The families that the exports have in common; empty if no export has an address. */
  readonly families: readonly Family[]
  readonly sessionAffinity?: { readonly timeoutMs: number }
  readonly internalTrafficPolicy: 'Cluster' | 'Local'
  readonly trafficDistribution?: string
  readonly annotations: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
  readonly conflicts: readonly ExportConflict[]
}

/** A difference between the exports. */
export interface ExportConflict {
  /** The reason of the `Conflict` condition, as defined by the API. */
  readonly reason: string
  /** What differs, which cluster decides, and what the others have. */
  readonly message: string
}

/** A service as the data path sees it: merged from all clusters, frozen, and replaced as a whole when anything changes. */
export interface GlobalService {
  readonly key: ServiceKey
  readonly namespace: string
  readonly name: string
  /**
   * The declaration of the local cluster, or a substitute for it: a ServiceImport, or the merged exports of other clusters.
   * Undefined if the local cluster has none: then the service has no frontend, and no name in DNS.
   */
  readonly local: ClusterService | undefined
  /** The declarations of all clusters that take part, local first; DNS answers for headless services from them. */
  readonly members: readonly ClusterService[]
  readonly settings: Settings
  /** The merged exports; undefined if no cluster exports it. */
  readonly clusterset?: Clusterset
  readonly frontends: readonly Frontend[]
  /** All backends that take part, including those in maintenance; local cluster first, then by address and port. */
  readonly backends: Backends
  /** Known remote backends that do not take part, because the local Service is missing or not global. */
  readonly parked: Backends
  /** Wall-clock milliseconds of the last change. */
  readonly changedAt: number
}

export function frontendKey(ip: string, port: number, protocol: Protocol): string {
  return joined(endpointText(ip, port), '/', protocol)
}

/** Whether a backend serves the port of a frontend: matched by name, never by number (Cilium's `matchesFrontend`). */
export function portMatches(
  frontend: { readonly name: string; readonly protocol: Protocol; readonly family: Family | undefined },
  backend: Backend,
): boolean {
  if (frontend.protocol !== backend.protocol) return false
  if (frontend.family !== undefined && frontend.family !== backend.family) return false
  return frontend.name === '' || backend.ports.length === 0 || backend.ports.includes(frontend.name)
}
