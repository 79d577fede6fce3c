/** Kubernetes objects as far as the mesh needs them: decoded, checked, and still one value per object. */
import type { ClusterService, Endpoint, Pod, ServiceExport, ServiceKey } from '../../model/service.ts'

export const kinds = [
  'Service',
  'EndpointSlice',
  'Endpoints',
  'Namespace',
  'Node',
  'Pod',
  'ServiceExport',
  'ServiceImport',
] as const
export type Kind = (typeof kinds)[number]

/** What names an object within one cluster. `namespace` is empty for Namespace and Node. */
export interface ObjectRef {
  readonly kind: Kind
  readonly namespace: string
  readonly name: string
}

export type KubernetesObject =
  | ServiceObject
  | EndpointsObject
  | NamespaceObject
  | NodeObject
  | PodObject
  | ExportObject
  | ImportObject

export interface ServiceObject extends ObjectRef {
  readonly kind: 'Service'
  /** All but what only the cluster and its other objects can say. */
  readonly spec: Omit<
    ClusterService,
    'cluster' | 'namespace' | 'name' | 'exported' | 'derived' | 'derivedFrom' | 'endpoints' | 'origin'
  >
}

/** An EndpointSlice, or an Endpoints object in the same form: some of the endpoints of one service. */
export interface EndpointsObject extends ObjectRef {
  readonly kind: 'EndpointSlice' | 'Endpoints'
  readonly service: ServiceKey
  /** Sorted by address, so that a controller's reshuffle is no change. */
  readonly endpoints: readonly DeclaredEndpoint[]
}

/** An endpoint before its Service (`publishNotReadyAddresses`) and its Node (zone) have been asked. */
export interface DeclaredEndpoint extends Omit<Endpoint, 'serving'> {
  /** Undefined where the object does not say; then it is whatever `ready` turns out to be. */
  readonly serving: boolean | undefined
}

export interface NamespaceObject extends ObjectRef {
  readonly kind: 'Namespace'
  /** The export gate `clustermesh.cilium.io/global`. */
  readonly global: boolean
}

export interface NodeObject extends ObjectRef {
  readonly kind: 'Node'
  readonly zone: string | undefined
}

export interface PodObject extends ObjectRef {
  readonly kind: 'Pod'
  readonly pod: Pod
}

/** Says by its being there that the Service of its name is for all clusters. */
export interface ExportObject extends ObjectRef {
  readonly kind: 'ServiceExport'
  readonly said: ServiceExport
}

export interface ImportObject extends ObjectRef {
  readonly kind: 'ServiceImport'
  /** Of the Service that it stands in for. */
  readonly spec: ServiceObject['spec']
  /** The Service that has its address. */
  readonly derived: string | undefined
}

/** `EndpointSlice default/rebel-base-x7k2p`, `Node n1`: for people, and unique, so for keys as well. */
export function refText({ kind, namespace, name }: ObjectRef): string {
  return namespace === '' ? `${kind} ${name}` : `${kind} ${namespace}/${name}`
}
