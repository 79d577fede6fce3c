/** The kinds that this API server serves, and their discovery data for kubectl. */

export interface ResourceType {
  readonly group: string
  readonly version: string
  readonly kind: string
  readonly plural: string
  readonly namespaced: boolean
  readonly shortNames: readonly string[]
  readonly subresources: readonly ('status' | 'scale')[]
  /** Columns that `kubectl get` shows between NAME and AGE: title and path. */
  readonly columns: readonly (readonly [title: string, path: string])[]
}

/** An object of the API. */
export interface KubeObject {
  apiVersion: string
  kind: string
  metadata: Metadata
  // biome-ignore lint/suspicious/noExplicitAny: tests read and write the fields of any kind
  [key: string]: any
}

export interface Metadata {
  name: string
  namespace?: string
  resourceVersion?: string
  uid?: string
  labels?: Record<string, string>
  annotations?: Record<string, string>
  // biome-ignore lint/suspicious/noExplicitAny: as above
  [key: string]: any
}

type Extras = Partial<Pick<ResourceType, 'shortNames' | 'subresources' | 'columns'>>

function type(
  apiVersion: string,
  kind: string,
  plural: string,
  namespaced: boolean,
  extras: Extras = {},
): ResourceType {
  const [version = '', group = ''] = apiVersion.split('/').reverse()
  return { group, version, kind, plural, namespaced, shortNames: [], subresources: [], columns: [], ...extras }
}

const rbac = 'rbac.authorization.k8s.io/v1'
const mcs = 'multicluster.x-k8s.io/v1alpha1'

export const builtIn: readonly ResourceType[] = [
  type('v1', 'Namespace', 'namespaces', false, { shortNames: ['ns'], columns: [['Status', 'status.phase']] }),
  type('v1', 'Node', 'nodes', false, { shortNames: ['no'], subresources: ['status'] }),
  type('v1', 'Pod', 'pods', true, {
    shortNames: ['po'],
    subresources: ['status'],
    columns: [
      ['Status', 'status.phase'],
      ['IP', 'status.podIP'],
    ],
  }),
  type('v1', 'Service', 'services', true, {
    shortNames: ['svc'],
    subresources: ['status'],
    columns: [
      ['Type', 'spec.type'],
      ['Cluster-IP', 'spec.clusterIP'],
    ],
  }),
  type('v1', 'Endpoints', 'endpoints', true, { shortNames: ['ep'] }),
  type('v1', 'ConfigMap', 'configmaps', true, { shortNames: ['cm'] }),
  type('v1', 'Secret', 'secrets', true),
  type('v1', 'ServiceAccount', 'serviceaccounts', true, { shortNames: ['sa'] }),
  type('v1', 'Event', 'events', true, {
    shortNames: ['ev'],
    columns: [
      ['Type', 'type'],
      ['Reason', 'reason'],
      ['Message', 'message'],
    ],
  }),
  type('apps/v1', 'Deployment', 'deployments', true, {
    shortNames: ['deploy'],
    subresources: ['status', 'scale'],
    columns: [
      ['Desired', 'spec.replicas'],
      ['Available', 'status.availableReplicas'],
    ],
  }),
  type('apps/v1', 'DaemonSet', 'daemonsets', true, { shortNames: ['ds'], subresources: ['status'] }),
  type('discovery.k8s.io/v1', 'EndpointSlice', 'endpointslices', true, { columns: [['AddressType', 'addressType']] }),
  type('events.k8s.io/v1', 'Event', 'events', true, { shortNames: ['ev'] }),
  type('coordination.k8s.io/v1', 'Lease', 'leases', true),
  type('networking.k8s.io/v1', 'NetworkPolicy', 'networkpolicies', true, { shortNames: ['netpol'] }),
  type('policy/v1', 'PodDisruptionBudget', 'poddisruptionbudgets', true, { shortNames: ['pdb'] }),
  type(rbac, 'ClusterRole', 'clusterroles', false),
  type(rbac, 'ClusterRoleBinding', 'clusterrolebindings', false),
  type(rbac, 'Role', 'roles', true),
  type(rbac, 'RoleBinding', 'rolebindings', true),
]

/** The Multi-Cluster Services API, which most clusters do not have. */
export const multicluster: readonly ResourceType[] = [
  type(mcs, 'ServiceExport', 'serviceexports', true, { shortNames: ['svcex'], subresources: ['status'] }),
  type(mcs, 'ServiceImport', 'serviceimports', true, { shortNames: ['svcim'], subresources: ['status'] }),
]

/** The imports of GKE's own implementation of it. */
export const gkeImports: readonly ResourceType[] = [type('net.gke.io/v1', 'ServiceImport', 'serviceimports', true)]

/** The policies of Cilium, which only a cluster with Cilium has. */
export const ciliumPolicies: readonly ResourceType[] = [
  type('cilium.io/v2', 'CiliumNetworkPolicy', 'ciliumnetworkpolicies', true, { shortNames: ['cnp'] }),
  type('cilium.io/v2', 'CiliumClusterwideNetworkPolicy', 'ciliumclusterwidenetworkpolicies', false, {
    shortNames: ['ccnp'],
  }),
  type('cilium.io/v2', 'CiliumCIDRGroup', 'ciliumcidrgroups', false, { shortNames: ['ccg'] }),
]

/** What Cilium and Calico say about the pod networks of nodes. */
export const nodeNetworks: readonly ResourceType[] = [
  type('cilium.io/v2', 'CiliumNode', 'ciliumnodes', false, { shortNames: ['cn'] }),
  type('crd.projectcalico.org/v1', 'IPAMBlock', 'ipamblocks', false),
]

export function groupVersion({ group, version }: Pick<ResourceType, 'group' | 'version'>): string {
  return group === '' ? version : `${group}/${version}`
}

/** The value at `spec.ports.0.name`. */
export function at(value: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((inner, key) => (inner as Record<string, unknown> | undefined)?.[key], value)
}
