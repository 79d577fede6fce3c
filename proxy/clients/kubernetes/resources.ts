/** What is asked of each cluster, and nothing else: what the roles in deploy/ allow. */
export interface Resource {
  readonly kind: string
  readonly apiVersion: string
  /** Empty for the core group. */
  readonly group: string
  readonly plural: string
  /** In order of preference; a server that does not know one is asked for the next. */
  readonly paths: readonly string[]
  readonly labelSelector?: string
  /** Only names, labels and annotations are read; the rest, such as a node's list of images, is not even sent. */
  readonly metadataOnly?: true
  /** A cluster that has no such resource, or does not show it, is complete without. */
  readonly optional?: true
}

/** Endpoints that were copied in from another cluster name it; that cluster is asked itself (Cilium 1.8, KEP-1645). */
const ownSlices = '!multicluster.kubernetes.io/source-cluster'

const mcs = { apiVersion: 'multicluster.x-k8s.io/v1alpha1', group: 'multicluster.x-k8s.io', optional: true } as const

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
  { ...core('Namespace', 'namespaces'), metadataOnly: true },
  { ...core('Node', 'nodes'), metadataOnly: true, optional: true },
  { ...mcs, kind: 'ServiceExport', plural: 'serviceexports', paths: mcsPaths('serviceexports') },
  { ...mcs, kind: 'ServiceImport', plural: 'serviceimports', paths: mcsPaths('serviceimports') },
]

/** Only for who asks for it: of all lists the largest. */
export const pods: Resource = { ...core('Pod', 'pods'), optional: true }

/** The rule that a role must have, as it is written in one. */
export function ruleText({ group, plural }: Resource): string {
  return `{apiGroups: ["${group}"], resources: [${plural}], verbs: [list, watch]}`
}

function core(kind: string, plural: string): Resource {
  return { kind, apiVersion: 'v1', group: '', plural, paths: [`/api/v1/${plural}`] }
}

function mcsPaths(plural: string): readonly string[] {
  return ['v1beta1', 'v1alpha1'].map(version => `/apis/multicluster.x-k8s.io/${version}/${plural}`)
}
