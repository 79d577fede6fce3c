/** Policy objects as a cluster has them. What they mean is for a plugin to say. */

/** The kinds that are read: policies, and the lists of ranges that they refer to. */
export const policyKinds = [
  'NetworkPolicy',
  'CiliumNetworkPolicy',
  'CiliumClusterwideNetworkPolicy',
  'CiliumCIDRGroup',
] as const

/** Kinds of which no API version is stable. They are passed on, so that a plugin can report them. */
export const unstablePolicyKinds = ['AdminNetworkPolicy', 'BaselineAdminNetworkPolicy', 'ClusterNetworkPolicy'] as const

export type PolicyKind = (typeof policyKinds)[number] | (typeof unstablePolicyKinds)[number]

export function isPolicyKind(kind: string): kind is PolicyKind {
  return [...policyKinds, ...unstablePolicyKinds].some(known => known === kind)
}

/** Whether it says anything about Pods by itself: a list of ranges does not, nor does a kind that is not used. */
export function isAboutPods(kind: PolicyKind): boolean {
  return kind !== 'CiliumCIDRGroup' && !unstablePolicyKinds.some(each => each === kind)
}

/** Of which API group a kind is ours; a kind of this name in another group is something else. */
export function groupOfPolicy(kind: PolicyKind): string {
  if (kind === 'NetworkPolicy') return 'networking.k8s.io'
  return kind.startsWith('Cilium') ? 'cilium.io' : 'policy.networking.k8s.io'
}

/** One policy object. Only its metadata is checked. */
export interface PolicyObject {
  readonly cluster: string
  readonly kind: PolicyKind
  readonly apiVersion: string
  /** Empty for a kind of the whole cluster. */
  readonly namespace: string
  readonly name: string
  readonly annotations: Readonly<Record<string, string>>
  /** Only of a CiliumCIDRGroup, which can be selected by them. */
  readonly labels?: Readonly<Record<string, string>>
  /** As it was read. */
  readonly spec: unknown
  /** A list of further specs, which Cilium's kinds may have. */
  readonly specs: unknown
  /** Where it was read: `policies.yaml:12`; undefined for an API server. */
  readonly origin: string | undefined
}

/** A policy without the cluster, which its source adds. */
export type DeclaredPolicy = Omit<PolicyObject, 'cluster' | 'origin'>

/** `CiliumNetworkPolicy shop/cart`: shown to people, and unique within a cluster. */
export function policyText({ kind, namespace, name }: Pick<PolicyObject, 'kind' | 'namespace' | 'name'>): string {
  return namespace === '' ? `${kind} ${name}` : `${kind} ${namespace}/${name}`
}
