/** The resources that Starlane reads from a cluster. The roles in `deploy/` allow exactly these. */
export interface Resource {
  readonly kind: string
  readonly apiVersion: string
  /** Empty for the core group. */
  readonly group: string
  readonly plural: string
  /** In order of preference; if the server does not know one, the next is tried. */
  readonly paths: readonly string[]
  /** In another group, for a server that knows none of these. A role need not allow it: an older one does not name the group. */
  readonly elsewhere?: string
  readonly labelSelector?: string
  /** Only metadata is requested, which leaves out large parts such as a node's list of images. */
  readonly metadataOnly?: true
  /** How much of an object is kept, in bytes; all of it by default. For the limits of the cluster. */
  readonly keptBytes?: number
  /** The cluster counts as complete without it when the server does not have it or denies access. */
  readonly optional?: true
  /** It may be absent, but not denied: without it, what is forbidden would be allowed. */
  readonly needed?: true
}

/** Leaves out the slices that Starlane writes: it reads their endpoints from the other clusters. */
const ownSlices = 'endpointslice.kubernetes.io/managed-by!=endpointslice-mesh-controller.starlane.dev'

const cilium = { apiVersion: 'cilium.io/v2', group: 'cilium.io', optional: true } as const
const mcs = { apiVersion: 'multicluster.x-k8s.io/v1alpha1', group: 'multicluster.x-k8s.io', optional: true } as const

/** What CNIs say about the pod networks of nodes. `spec.podCIDRs` of a Node may be of no use to them. */
const ofNodes: readonly Resource[] = [
  { ...cilium, kind: 'CiliumNode', plural: 'ciliumnodes', paths: ciliumPaths('ciliumnodes'), keptBytes: 256 },
  {
    kind: 'IPAMBlock',
    apiVersion: 'crd.projectcalico.org/v1',
    group: 'crd.projectcalico.org',
    plural: 'ipamblocks',
    paths: ['/apis/crd.projectcalico.org/v1/ipamblocks'],
    optional: true,
    keptBytes: 256,
  },
]

export const resources: readonly Resource[] = [
  core('Service', 'services'),
  {
    kind: 'EndpointSlice',
    apiVersion: 'discovery.k8s.io/v1',
    group: 'discovery.k8s.io',
    plural: 'endpointslices',
    paths: ['/apis/discovery.k8s.io/v1/endpointslices'],
    labelSelector: ownSlices,
  },
  { ...core('Namespace', 'namespaces'), metadataOnly: true, keptBytes: 256 },
  // Whole, for their addresses and pod networks, which are the cluster's own.
  { ...core('Node', 'nodes'), optional: true, keptBytes: 512 },
  ...ofNodes,
  { ...mcs, kind: 'ServiceExport', plural: 'serviceexports', paths: mcsPaths('serviceexports') },
  // GKE has the imports of its own implementation in a group of its own, with the same fields.
  {
    ...mcs,
    kind: 'ServiceImport',
    plural: 'serviceimports',
    paths: mcsPaths('serviceimports'),
    elsewhere: '/apis/net.gke.io/v1/serviceimports',
  },
]

/** Read only on request, since it is the largest list. */
export const pods: Resource = { ...core('Pod', 'pods'), optional: true, keptBytes: 256 }

/** The same with labels and named ports, for policies. */
export const labelledPods: Resource = { ...pods, keptBytes: 1024 }

/** Read only where a plugin asks for policies. Cilium's kinds exist only with Cilium. */
export const policies: readonly Resource[] = [
  {
    kind: 'NetworkPolicy',
    apiVersion: 'networking.k8s.io/v1',
    group: 'networking.k8s.io',
    plural: 'networkpolicies',
    paths: ['/apis/networking.k8s.io/v1/networkpolicies'],
    optional: true,
  },
  {
    ...cilium,
    kind: 'CiliumNetworkPolicy',
    plural: 'ciliumnetworkpolicies',
    paths: ciliumPaths('ciliumnetworkpolicies'),
  },
  {
    ...cilium,
    kind: 'CiliumClusterwideNetworkPolicy',
    plural: 'ciliumclusterwidenetworkpolicies',
    paths: ciliumPaths('ciliumclusterwidenetworkpolicies'),
  },
  {
    ...cilium,
    kind: 'CiliumCIDRGroup',
    plural: 'ciliumcidrgroups',
    // Stable since Cilium 1.17.
    paths: [...ciliumPaths('ciliumcidrgroups'), '/apis/cilium.io/v2alpha1/ciliumcidrgroups'],
  },
]

/** The same for the underlay, which cannot do without Nodes. */
export const wholeNodes: readonly Resource[] = [{ ...core('Node', 'nodes'), keptBytes: 512 }, ...ofNodes]

/** The RBAC rule that a role needs. */
export function ruleText({ group, plural }: Resource): string {
  return `{apiGroups: ["${group}"], resources: [${plural}], verbs: [list, watch]}`
}

function core(kind: string, plural: string): Resource {
  return { kind, apiVersion: 'v1', group: '', plural, paths: [`/api/v1/${plural}`] }
}

function ciliumPaths(plural: string): readonly string[] {
  return [`/apis/cilium.io/v2/${plural}`]
}

function mcsPaths(plural: string): readonly string[] {
  return ['v1beta1', 'v1alpha1'].map(version => `/apis/multicluster.x-k8s.io/${version}/${plural}`)
}
