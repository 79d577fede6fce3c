/** The rights that Starlane needs in a cluster, by what is configured, and those that installing it needs. */
import { pods, policies, type Resource, resources } from '../../clients/kubernetes/resources.ts'
import type { Config } from '../../config/schema.ts'

export interface Right {
  readonly group: string
  /** With a subresource: `serviceaccounts/token`. */
  readonly resource: string
  readonly verbs: readonly string[]
  readonly namespace?: string
  /** Starlane runs without it, with less. */
  readonly isOptional: boolean
  /** What it is for. */
  readonly why: string
  /** Where the rule is. */
  readonly from: string
}

/** The rule of a role. */
export function rightText({ group, resource, verbs }: Right): string {
  return `{apiGroups: ["${group}"], resources: [${resource}], verbs: [${verbs.join(', ')}]}`
}

/** What a cluster of the configuration must allow. */
export function neededRights({ dns, plugins, writeBack }: Config, isLocal: boolean): Right[] {
  const wantsPolicies = plugins.some(({ use }) => use === 'policy')
  return [
    ...resources.map(resource => reading(resource, 'deploy/base')),
    ...(isLocal && dns.pods === 'verified' ? [reading(pods, 'deploy/components/verified-pods')] : []),
    ...(wantsPolicies
      ? [pods, ...policies].map(resource => reading(resource, 'deploy/components/policies', isLocal))
      : []),
    ...(isLocal ? writing(writeBack) : []),
  ]
}

function reading({ group, plural, optional }: Resource, from: string, isNeeded = false): Right {
  const isOptional = optional === true && !isNeeded
  const why = isOptional ? 'what depends on it is left out' : 'without it the cluster cannot be read'
  return { group, resource: plural, verbs: ['list', 'watch'], isOptional, why, from }
}

function writing({ endpointSlices, serviceImports, derivedServices, events, namespace }: Config['writeBack']): Right[] {
  const from = 'deploy/components/write-back'
  const right = (group: string, resource: string, verbs: readonly string[], why: string): Right[] => [
    { group, resource, verbs, isOptional: false, why, from },
  ]
  const change = ['create', 'patch', 'delete']
  const mcs = 'multicluster.x-k8s.io'
  return [
    ...(endpointSlices ? right('discovery.k8s.io', 'endpointslices', change, 'writeBack.endpointSlices') : []),
    ...(serviceImports ? right(mcs, 'serviceimports', change, 'writeBack.serviceImports') : []),
    ...(serviceImports ? right(mcs, 'serviceexports/status', ['patch'], 'writeBack.serviceImports') : []),
    ...(derivedServices ? right('', 'services', change, 'writeBack.derivedServices') : []),
    ...(events ? right('', 'events', ['create', 'patch'], 'writeBack.events') : []),
    ...(endpointSlices || serviceImports
      ? right('coordination.k8s.io', 'leases', ['get', 'create', 'update'], 'one of several replicas writes').map(
          each => ({
            ...each,
            ...(namespace !== undefined && { namespace }),
          }),
        )
      : []),
  ]
}

/** What "starlane mesh enable" and "connect" do as the user of a context. */
export const installingRights: readonly Right[] = [
  ['', 'namespaces', ['get', 'create', 'patch']],
  ['', 'serviceaccounts', ['get', 'create', 'patch', 'delete']],
  ['', 'serviceaccounts/token', ['create']],
  ['', 'configmaps', ['get', 'create', 'update', 'patch']],
  ['', 'secrets', ['get', 'create', 'update']],
  ['rbac.authorization.k8s.io', 'clusterroles', ['get', 'create', 'patch', 'bind', 'escalate']],
  ['rbac.authorization.k8s.io', 'clusterrolebindings', ['get', 'create', 'patch', 'delete']],
  ['apps', 'daemonsets', ['get', 'list', 'create', 'patch']],
].map(([group, resource, verbs]) => ({
  group: group as string,
  resource: resource as string,
  verbs: verbs as string[],
  namespace: 'starlane',
  isOptional: false,
  why: 'installing and joining need it',
  from: 'ask who administers the cluster',
}))
