/**
 * What the decoders produce and the service assembler consumes: one value per Kubernetes object or etcd record, checked, and
 * reduced to what the mesh needs.
 */

import type { ClusterService, Endpoint, EndpointPort, Pod, ServiceExport, ServiceKey } from '../model/service.ts'
import { joined } from '../model/text/joined.ts'
import type { NamedGateway } from '../model/tunnel/gateway-address.ts'
import type { AddressRecord, Labels, NumberedIdentity } from '../model/workloads/identity.ts'
import type { DeclaredPolicy, PolicyKind } from '../model/workloads/policy-object.ts'

export const kinds = [
  'Service',
  'EndpointSlice',
  'Endpoints',
  'Namespace',
  'Node',
  'Pod',
  'ServiceExport',
  'ServiceImport',
  'CiliumNode',
  'IPAMBlock',
] as const
/** Beside these, the policies, and the records of etcd that are about addresses. */
export type Kind = (typeof kinds)[number] | PolicyKind | 'Address' | 'Identity'

/** The default of the Kubernetes API for `sessionAffinity: ClientIP`: three hours. */
export const defaultAffinitySeconds = 10_800

/** Identifies an object within one cluster. `namespace` is empty for what belongs to the whole cluster. */
export interface ObjectRef {
  readonly kind: Kind
  readonly namespace: string
  readonly name: string
}

export type ClusterObject =
  | ServiceObject
  | EndpointsObject
  | NamespaceObject
  | NodeObject
  | NetworksObject
  | ExportObject
  | ImportObject
  | LooseObject

/** Objects that are not part of a service. */
export type LooseObject = PodObject | PolicyEntry | AddressObject | IdentityObject

/** A service without its identity, its endpoints, and what other objects say about it. */
export type ServiceSpec = Omit<
  ClusterService,
  | 'cluster'
  | 'namespace'
  | 'name'
  | 'exported'
  | 'serviceImport'
  | 'derived'
  | 'derivedFrom'
  | 'readyOnly'
  | 'endpoints'
  | 'origin'
>

export interface ServiceObject extends ObjectRef {
  readonly kind: 'Service'
  readonly spec: ServiceSpec
  /** Where the cluster says that it is reached through it. */
  readonly gateways?: readonly NamedGateway[]
}

/**
 * Some of the endpoints of one service: an EndpointSlice, or a list from before slices (an Endpoints object, the backends of
 * a service record). Where a service has both, one of them is used: the slices, unless the source prefers the list.
 */
export interface EndpointsObject extends ObjectRef {
  readonly kind: 'EndpointSlice' | 'Endpoints'
  readonly service: ServiceKey
  /** Set where the endpoints are those of a ServiceImport, in this other cluster: they are not endpoints of the Service. */
  readonly sourceCluster?: string
  /** Kubernetes' decoder sorts them by address, so that a reordered slice is not a change. */
  readonly endpoints: readonly DeclaredEndpoint[]
  /** Set where the list has no conditions, and so omits endpoints that are not ready. */
  readonly readyOnly?: true
  /** Set where the slice describes its Service too (etcd): used when the cluster has no other record of the Service. */
  readonly implied?: { readonly spec: ServiceSpec; readonly ports: readonly EndpointPort[] }
}

/** An endpoint before its Service (`publishNotReadyAddresses`) and its Node (zone) are taken into account. */
export interface DeclaredEndpoint extends Omit<Endpoint, 'serving'> {
  /** Undefined where the object does not say; then it equals the final `ready`. */
  readonly serving: boolean | undefined
}

export interface NamespaceObject extends ObjectRef {
  readonly kind: 'Namespace'
  /** The export gate `clustermesh.cilium.io/global`; undefined without it. */
  readonly global: boolean | undefined
  readonly labels?: Labels
}

export interface NodeObject extends ObjectRef {
  readonly kind: 'Node'
  readonly zone: string | undefined
  readonly region?: string | undefined
  /** Canonical. */
  readonly addresses?: readonly string[]
  /** Where the gateway on it is reached, if the cluster says that there is one. */
  readonly gateways?: readonly NamedGateway[]
  readonly podCidrs?: readonly string[]
  readonly wireguardKey?: string | undefined
}

/** Which pod networks a node has, as its CNI says: a CiliumNode, or a block of Calico. */
export interface NetworksObject extends ObjectRef {
  readonly kind: 'CiliumNode' | 'IPAMBlock'
  readonly node: string
  readonly podCidrs: readonly string[]
}

export interface PodObject extends ObjectRef {
  readonly kind: 'Pod'
  readonly pod: Pod
}

export interface PolicyEntry extends ObjectRef {
  readonly kind: PolicyKind
  readonly policy: DeclaredPolicy
}

/** Its name is the address, as its key has it. */
export interface AddressObject extends ObjectRef {
  readonly kind: 'Address'
  readonly record: AddressRecord
}

/** Its name is the number. */
export interface IdentityObject extends ObjectRef {
  readonly kind: 'Identity'
  readonly identity: NumberedIdentity
}

/** Exports the Service of its name to all clusters. */
export interface ExportObject extends ObjectRef {
  readonly kind: 'ServiceExport'
  readonly exported: ServiceExport
  /**
   * Set where the export describes the service too (etcd): used when the cluster has no service of this name. The backends are
   * those of `backendsOf`, the derived Service (Cilium 4.3).
   */
  readonly standIn?: { readonly spec: ServiceSpec; readonly backendsOf: ServiceKey }
}

export interface ImportObject extends ObjectRef {
  readonly kind: 'ServiceImport'
  /** The Service that it stands in for. */
  readonly spec: ServiceSpec
  /** The Service that carries its address. */
  readonly derived: string | undefined
}

/** `EndpointSlice default/rebel-base-x7k2p`, `Node n1`: shown to people, and unique within a cluster, so also a key. */
export function refText({ kind, namespace, name }: ObjectRef): string {
  return namespace === '' ? joined(kind, ' ', name) : joined(kind, ' ', namespace, '/', name)
}
