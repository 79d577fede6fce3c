/**
 * The wire format that the clusters of a Cilium ClusterMesh read and write in etcd (Cilium 1.20): where each thing stands and
 * what it looks like there. Shared by the source that reads and the publisher that writes; both only ever add to it.
 */
import { dictionary, int, many, maybe, message, nested, text, texts } from './etcd/protobuf.ts'

/** The state of one cluster that a reader may ask for. Endpoint slices exist from Cilium 1.20 on. */
export const resources = ['nodes', 'identities', 'ip', 'services', 'endpointslices', 'serviceexports'] as const
export type Resource = (typeof resources)[number]

/** Written once a minute by whoever is responsible for the store; its arrival is the signal, the value is not read. */
export const heartbeatKey = 'cilium/.heartbeat'
export const heartbeatEveryMs = 60_000

/** Held by the one process that publishes a cluster; Starlane's own. */
export function lockKey(cluster: string): string {
  return `cilium/.publisher/${cluster}`
}

export function clusterConfigKey(cluster: string): string {
  return `cilium/cluster-config/${cluster}`
}

/**
 * Ends in a slash, so that cluster `c1` never sees the keys of `c11`. `cached` is where KVStoreMesh mirrors to. Identities and
 * addresses of pods stand under no name of a cluster before that (Cilium 2.2).
 */
export function prefixOf(resource: Resource, cluster: string, cached = false): string {
  if (resource === 'identities') return `${base(resource, cached)}/${cached ? `${cluster}/` : ''}id/`
  if (resource === 'ip' && !cached) return `${base(resource, cached)}/default/`
  return `${base(resource, cached)}/${cluster}/`
}

/** Present once everything of the resource has been written: before, an absent key means nothing. */
export function canaryKey(resource: Resource, cluster: string, cached = false): string {
  return `${canaryPrefix(cluster)}${base(resource, cached)}`
}

export function canaryPrefix(cluster: string): string {
  return `${canariesPrefix}${cluster}/`
}

export const canariesPrefix = 'cilium/synced/'

/** The clusters that keys under {@link canariesPrefix} are of. */
export function clustersIn(canaries: readonly string[]): string[] {
  return [...new Set(canaries.map(key => key.slice(canariesPrefix.length).split('/')[0] ?? ''))]
}

function base(resource: Resource, cached: boolean): string {
  return `cilium/${cached ? 'cache' : 'state'}/${resource}/v1`
}

export type SlicesMode = '' | 'services-and-endpointslices' | 'endpointslices-only'

/** What a cluster says of itself. Absent fields mean false, 255 and services only. */
export interface ClusterConfigRecord {
  readonly id: number
  readonly capabilities?: {
    readonly syncedCanaries?: boolean
    readonly cached?: boolean
    readonly maxConnectedClusters?: number
    readonly serviceExportsEnabled?: boolean
    readonly endpointSlicesExportMode?: SlicesMode
  }
}

/** The inner table is capitalised on the wire. */
export interface PortRecord {
  readonly Protocol: string
  readonly Port: number
}

/** IP to port name to port; an unnamed port has the empty name. */
export type PortsByIp = Readonly<Record<string, Readonly<Record<string, PortRecord>>>>

/** One shared global service. A service that is not shared has no record, rather than one that says so. */
export interface ServiceRecord {
  readonly cluster: string
  readonly namespace: string
  readonly name: string
  readonly frontends: PortsByIp
  readonly backends: PortsByIp
  readonly hostnames?: Readonly<Record<string, string>>
  readonly zones?: Readonly<Record<string, { zone?: string; forZones?: readonly { readonly name: string }[] }>>
  readonly labels: Readonly<Record<string, string>>
  readonly selector: Readonly<Record<string, string>>
  readonly includeExternal: boolean
  readonly shared: boolean
  readonly clusterID: number
}

/** A Go struct without tags, so that its names are capitalised. */
export interface NodeRecord {
  readonly Name: string
  readonly Cluster: string
  readonly ClusterID: number
  readonly IPAddresses: readonly { readonly Type: string; readonly IP: string }[] | null
  readonly Labels: Readonly<Record<string, string>>
}

export const zoneLabel = 'topology.kubernetes.io/zone'

/** A ServiceExport of the Multi-Cluster Services API. Its backends are those of the derived Service beside it. */
export interface ServiceExportRecord {
  readonly cluster: string
  readonly namespace: string
  readonly name: string
  readonly annotations: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
  /** RFC 3339; the oldest export wins conflicts. */
  readonly exportCreationTimestamp?: string
  readonly ports: readonly {
    readonly name: string
    readonly protocol: string
    readonly port: number
    readonly appProtocol?: string
  }[]
  readonly type: 'ClusterSetIP' | 'Headless'
  readonly sessionAffinity: 'None' | 'ClientIP'
  readonly sessionAffinityConfig?: { readonly clientIP: { readonly timeoutSeconds: number } }
}

const conditions = message({ ready: maybe(1), serving: maybe(2), terminating: maybe(3) })
const zone = message({ name: text(1) })
const hints = message({ forZones: many(1, zone) })

const endpoint = message({
  addresses: texts(1),
  conditions: nested(2, conditions),
  nodeName: text(6),
  zone: text(7),
  hints: nested(8, hints),
})

const port = message({ name: text(1), protocol: text(2), port: int(3) })

/** An EndpointSlice of a shared global service; on the wire it is one zstd frame. */
export const sliceMessage = message({
  cluster: text(1),
  clusterId: int(2),
  namespace: text(3),
  name: text(4),
  labels: dictionary(5),
  annotations: dictionary(6),
  addressType: text(7),
  endpoints: many(8, endpoint),
  ports: many(9, port),
})
