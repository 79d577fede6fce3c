/**
 * The keys and record formats of a Cilium ClusterMesh in etcd (Cilium 1.20), shared by the source that reads them and the
 * publisher that writes them.
 */
import { dictionary, int, many, maybe, message, nested, text, texts } from './etcd/protobuf.ts'

/** The resources of one cluster. EndpointSlices exist since Cilium 1.20. */
export const resources = ['nodes', 'identities', 'ip', 'services', 'endpointslices', 'serviceexports'] as const
export type Resource = (typeof resources)[number]

/** Renewed once a minute by the owner of the store. Readers watch for the write and ignore the value. */
export const heartbeatKey = 'cilium/.heartbeat'
export const heartbeatEveryMs = 60_000

/** The lock of the process that publishes a cluster. Not part of Cilium's format. */
export function lockKey(cluster: string): string {
  return `cilium/.publisher/${cluster}`
}

export function clusterConfigKey(cluster: string): string {
  return `cilium/cluster-config/${cluster}`
}

/**
 * Ends in a slash, so that cluster `c1` never matches the keys of `c11`. `cached` selects the copy that KVStoreMesh keeps. In
 * a cluster's own store, the keys of identities and pod addresses do not contain the cluster's name (Cilium 2.2).
 */
export function prefixOf(resource: Resource, cluster: string, cached = false): string {
  if (resource === 'identities') return `${base(resource, cached)}/${cached ? `${cluster}/` : ''}id/`
  if (resource === 'ip' && !cached) return `${base(resource, cached)}/default/`
  return `${base(resource, cached)}/${cluster}/`
}

/** Present once the whole resource has been written. Until then, an absent key means nothing. */
export function canaryKey(resource: Resource, cluster: string, cached = false): string {
  return `${canaryPrefix(cluster)}${base(resource, cached)}`
}

export function canaryPrefix(cluster: string): string {
  return `${canariesPrefix}${cluster}/`
}

export const canariesPrefix = 'cilium/synced/'

/** The clusters in a list of keys under {@link canariesPrefix}. */
export function clustersIn(canaries: readonly string[]): string[] {
  return [...new Set(canaries.map(key => key.slice(canariesPrefix.length).split('/')[0] ?? ''))]
}

function base(resource: Resource, cached: boolean): string {
  return `cilium/${cached ? 'cache' : 'state'}/${resource}/v1`
}

export type SlicesMode = '' | 'services-and-endpointslices' | 'endpointslices-only'

/** How a cluster describes itself. Absent fields mean false, 255 and services only. */
export interface ClusterConfigRecord {
  readonly id: number
  /** Only between Starlanes: where the cluster's gateways are reached. */
  readonly gateways?: readonly string[]
  readonly capabilities?: {
    readonly syncedCanaries?: boolean
    readonly cached?: boolean
    readonly maxConnectedClusters?: number
    readonly serviceExportsEnabled?: boolean
    readonly endpointSlicesExportMode?: SlicesMode
  }
}

/** The names of its fields are capitalised in JSON. */
export interface PortRecord {
  readonly Protocol: string
  readonly Port: number
}

/** IP address to port name to port. An unnamed port has an empty name. */
export type PortsByIp = Readonly<Record<string, Readonly<Record<string, PortRecord>>>>

/** One shared global service. A service that is not shared has no record. */
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

/** A Go struct without tags, so its field names are capitalised. */
export interface NodeRecord {
  readonly Name: string
  readonly Cluster: string
  readonly ClusterID: number
  readonly IPAddresses: readonly { readonly Type: string; readonly IP: string }[] | null
  readonly Labels: Readonly<Record<string, string>>
}

export const zoneLabel = 'topology.kubernetes.io/zone'
export const regionLabel = 'topology.kubernetes.io/region'

/** A ServiceExport of the Multi-Cluster Services API. Its backends are in the record of its derived Service. */
export interface ServiceExportRecord {
  readonly cluster: string
  readonly namespace: string
  readonly name: string
  readonly annotations: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
  /** The names that `annotations` and `labels` had at first. Cilium writes both, and reads these where the others are empty. */
  readonly Annotations: Readonly<Record<string, string>>
  readonly Labels: Readonly<Record<string, string>>
  /** RFC 3339. The oldest export wins a conflict. A record without it is refused by Cilium: see {@link unknownTime}. */
  readonly exportCreationTimestamp: string
  readonly ports: readonly {
    readonly name: string
    readonly protocol: string
    readonly port: number
    readonly appProtocol?: string
  }[]
  readonly type: 'ClusterSetIP' | 'Headless'
  readonly sessionAffinity: 'None' | 'ClientIP'
  readonly sessionAffinityConfig?: { readonly clientIP: { readonly timeoutSeconds: number } }
  /** Absent or empty: not known, and any family may be assigned to the import. */
  readonly ipFamilies?: readonly FamilyName[]
  readonly internalTrafficPolicy?: 'Cluster' | 'Local'
  /** Cilium refuses a record with a value other than {@link trafficDistributions}. */
  readonly trafficDistribution?: string
}

export type FamilyName = 'IPv4' | 'IPv6'

export const trafficDistributions: readonly string[] = ['PreferClose', 'PreferSameZone', 'PreferSameNode']

/**
 * Written as the creation time of an export that has none (a manifest that no API server has stored). It is always the same,
 * so that a restart changes nothing, and later than any real one, so that such an export is the youngest for every reader.
 */
export const unknownTime = '9999-12-31T00:00:00Z'

const conditions = message({ ready: maybe(1), serving: maybe(2), terminating: maybe(3) })
const zone = message({ name: text(1) })
const hints = message({ forZones: many(1, zone) })

const endpoint = message({
  addresses: texts(1),
  conditions: nested(2, conditions),
  hostname: text(3),
  nodeName: text(6),
  zone: text(7),
  hints: nested(8, hints),
})

const port = message({ name: text(1), protocol: text(2), port: int(3) })

/** An EndpointSlice of a shared global service. In etcd the message is compressed as one zstd frame. */
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
