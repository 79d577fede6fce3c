/**
 * Encodes a local service as Cilium clusters read it (1.20): the record of `services/v1`, and slices of `endpointslices/v1`.
 * Deterministic: the same service gives the same bytes, so that a new leader has nothing to rewrite.
 */
import { zstdCompressSync } from 'node:zlib'
import {
  type ClusterConfigRecord,
  type FamilyName,
  type NodeRecord,
  type PortRecord,
  prefixOf,
  regionLabel,
  type ServiceExportRecord,
  type ServiceRecord,
  sliceMessage,
  trafficDistributions,
  unknownTime,
  zoneLabel,
} from '../clients/clustermesh.ts'
import { familyOf } from '../model/address.ts'
import { familiesOf } from '../model/clusterset.ts'
import { derivedServiceName } from '../model/multicluster.ts'
import {
  type ClusterService,
  type Endpoint,
  type EndpointPort,
  precedenceOf,
  type ServiceExport,
} from '../model/service.ts'
import { hashOf } from '../model/text/hash.ts'

/** Where a node is, by its labels. */
export interface Place {
  readonly zone?: string | undefined
  readonly region?: string | undefined
}

export interface ExportOptions {
  readonly cluster: string
  readonly clusterId: number
  /** The size of the mesh: 255, the default, or 511. */
  readonly maxClusters?: number | undefined
  /** Whether slices are written in addition to services. */
  readonly slices: boolean
  /** Whether keys have the layout of a KVStoreMesh cache. */
  readonly cached?: boolean
  /** `gw.example:15008` */
  readonly gateways?: readonly string[] | undefined
  /** They are not known yet: the cluster-config in the store stays as it is until they are. */
  readonly awaitGateways?: boolean
}

/**
 * The keys and values of a global and shared service. An ExternalName service has none. An exported one is also written under
 * the name of its derived Service, since Cilium clusters look there for its backends.
 */
export function recordsOf(service: ClusterService, options: ExportOptions): Map<string, Buffer> {
  const records = new Map<string, Buffer>()
  if (service.type === 'ExternalName') return records
  const { cluster, cached } = options
  const { namespace, name, exported } = service
  addBackends(records, service, options)
  if (!exported) return records
  addBackends(records, { ...service, name: derivedServiceName(namespace, name) }, options)
  const key = `${prefixOf('serviceexports', cluster, cached)}${namespace}/${name}`
  return records.set(key, json(exportRecord(service, exported, cluster)))
}

function addBackends(records: Map<string, Buffer>, service: ClusterService, options: ExportOptions): void {
  const { cluster, cached, slices } = options
  const { namespace, name } = service
  records.set(`${prefixOf('services', cluster, cached)}${namespace}/${name}`, json(serviceRecord(service, options)))
  if (!slices) return
  for (const [slice, value] of slicesOf(service, options)) {
    records.set(`${prefixOf('endpointslices', cluster, cached)}${namespace}/${slice}`, value)
  }
}

/**
 * A node that runs a shared endpoint, with its name, zone and region. Its addresses are omitted on purpose: Cilium agents would build
 * tunnels to them, and there is no Cilium at the other end.
 */
export function nodeRecord(name: string, { zone, region }: Place, { cluster, clusterId }: ExportOptions): Buffer {
  const record: NodeRecord = {
    Name: name,
    Cluster: cluster,
    IPAddresses: null,
    ClusterID: clusterId,
    Labels: {
      ...(region === undefined ? {} : { [regionLabel]: region }),
      ...(zone === undefined ? {} : { [zoneLabel]: zone }),
    },
  }
  return json(record)
}

export function clusterConfigValue({
  clusterId,
  maxClusters = 255,
  slices,
  cached,
  gateways = [],
}: ExportOptions): Buffer {
  const record: ClusterConfigRecord = {
    id: clusterId,
    ...(gateways.length > 0 ? { gateways } : {}),
    capabilities: {
      syncedCanaries: true,
      ...(cached ? { cached } : {}),
      maxConnectedClusters: maxClusters,
      serviceExportsEnabled: true,
      ...(slices ? { endpointSlicesExportMode: 'services-and-endpointslices' } : {}),
    },
  }
  return json(record)
}

function exportRecord(service: ClusterService, exported: ServiceExport, cluster: string): ServiceExportRecord {
  const { namespace, name, headless, ports, sessionAffinity, internalTrafficPolicy, trafficDistribution = '' } = service
  const [annotations, labels] = [sortedTable(exported.annotations), sortedTable(exported.labels)]
  const families = namedFamilies(service)
  return {
    cluster,
    namespace,
    name,
    annotations,
    labels,
    Annotations: annotations,
    Labels: labels,
    exportCreationTimestamp:
      exported.createdAt === undefined ? unknownTime : new Date(exported.createdAt).toISOString(),
    ports,
    type: headless ? 'Headless' : 'ClusterSetIP',
    sessionAffinity: sessionAffinity ? 'ClientIP' : 'None',
    ...(sessionAffinity
      ? { sessionAffinityConfig: { clientIP: { timeoutSeconds: Math.ceil(sessionAffinity.timeoutMs / 1000) } } }
      : {}),
    ...(families.length > 0 ? { ipFamilies: families } : {}),
    internalTrafficPolicy,
    ...(trafficDistributions.includes(trafficDistribution) ? { trafficDistribution } : {}),
  }
}

/** A service with neither families nor addresses of its own (a manifest without a ClusterIP) has those of its endpoints. */
function namedFamilies(service: ClusterService): FamilyName[] {
  const own = familiesOf(service)
  const families = own.length > 0 ? own : service.endpoints.map(({ address }) => familyOf(address)).sort()
  return [...new Set(families)].map((family): FamilyName => (family === 4 ? 'IPv4' : 'IPv6'))
}

function serviceRecord(service: ClusterService, { cluster, clusterId }: ExportOptions): ServiceRecord {
  const { namespace, name, headless, clusterIPs, ports } = service
  // This format has no conditions: endpoints neither ready nor serving are omitted, the rest count as active (Cilium 1.5).
  const byAddress = Map.groupBy(
    sorted(service.endpoints.filter(({ ready, serving }) => ready || serving)),
    ({ address }) => address,
  )
  const hostnames = table(byAddress, hostnameOf)
  const zones = table(byAddress, zonesOf)
  return {
    cluster,
    namespace,
    name,
    // A headless service has no frontends in this format.
    frontends: headless ? {} : Object.fromEntries(clusterIPs.toSorted().map(ip => [ip, portTable(ports)])),
    backends: table(byAddress, backendPorts),
    ...(Object.keys(hostnames).length === 0 ? {} : { hostnames }),
    ...(Object.keys(zones).length === 0 ? {} : { zones }),
    labels: sortedTable(service.labels),
    selector: {},
    includeExternal: true,
    shared: true,
    clusterID: clusterId,
  }
}

type ByAddress = ReadonlyMap<string, readonly Endpoint[]>

/** A value for each address that has one. */
function table<T>(byAddress: ByAddress, read: (endpoints: readonly Endpoint[]) => T | undefined): Record<string, T> {
  const entries = [...byAddress].map(([address, endpoints]) => [address, read(endpoints)] as const)
  return Object.fromEntries(entries.filter((entry): entry is [string, T] => entry[1] !== undefined))
}

/**
 * The format has one entry for an address: endpoints that share it are one there, with the ports of all. Where two have a port
 * of the same name, or both have a host name, the first in {@link sorted} is written.
 */
function backendPorts(endpoints: readonly Endpoint[]): Record<string, PortRecord> {
  const byName = new Map<string, EndpointPort>()
  for (const { ports } of endpoints) {
    for (const port of ports) if (!byName.has(port.name)) byName.set(port.name, port)
  }
  return portTable([...byName.values()])
}

function hostnameOf(endpoints: readonly Endpoint[]): string | undefined {
  return endpoints.find(({ hostname }) => hostname !== undefined)?.hostname
}

function zonesOf(endpoints: readonly Endpoint[]): { zone?: string; forZones?: { name: string }[] } | undefined {
  const { zone, forZones = [] } = endpoints.find(({ zone, forZones }) => zone ?? forZones?.length) ?? {}
  if (zone === undefined && forZones.length === 0) return undefined
  return { ...(zone === undefined ? {} : { zone }), ...(forZones.length === 0 ? {} : { forZones: named(forZones) }) }
}

function portTable(ports: readonly EndpointPort[]): Record<string, PortRecord> {
  const table = ports.map(({ name, protocol, port }) => [name, { Protocol: protocol, Port: port }] as const)
  return Object.fromEntries(table.sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Kubernetes' limit for one slice. */
const maxEndpoints = 1000

/**
 * All endpoints of a slice share ports, weight and family, so endpoints are grouped by these. The name is a hash of the group:
 * the same group always writes the same key.
 */
function slicesOf(service: ClusterService, { cluster, clusterId }: ExportOptions): Map<string, Buffer> {
  const { namespace, name, headless } = service
  const groups = Map.groupBy(sorted(service.endpoints), groupOf)
  const labels = new Map([
    ...(headless ? ([['service.kubernetes.io/headless', '']] as const) : []),
    ...Object.entries(sortedTable(service.labels)),
    ['kubernetes.io/service-name', name],
  ])
  const slices = new Map<string, Buffer>()
  for (const [group, members] of groups) {
    const [{ address, ports, weight = 100 } = members[0] as Endpoint] = members
    for (let at = 0; at < members.length; at += maxEndpoints) {
      const slice = `${name}-${hashOf(group).toString(36)}-${at / maxEndpoints}`
      const content = sliceMessage.encode({
        cluster,
        clusterId,
        namespace,
        name: slice,
        labels,
        annotations: new Map(weight === 100 ? [] : [['service.cilium.io/weight', String(weight)]]),
        addressType: familyOf(address) === 4 ? 'IPv4' : 'IPv6',
        endpoints: members.slice(at, at + maxEndpoints).map(endpointRecord),
        ports,
      })
      slices.set(slice, zstdCompressSync(content))
    }
  }
  return slices
}

function groupOf({ address, ports, weight = 100 }: Endpoint): string {
  const list = ports.map(({ name, protocol, port }) => `${name}:${port}/${protocol}`)
  return [familyOf(address), weight, ...list.sort()].join(' ')
}

function endpointRecord(endpoint: Endpoint) {
  const { address, ready, serving, terminating, hostname = '', node = '', zone = '', forZones = [] } = endpoint
  return {
    addresses: [address],
    conditions: { ready, serving, terminating },
    hostname,
    nodeName: node,
    zone,
    hints: forZones.length === 0 ? undefined : { forZones: named(forZones) },
  }
}

function named(names: readonly string[]): { name: string }[] {
  return names.map(name => ({ name }))
}

/** By address; those that share one, the most usable first, then by their ports. */
function sorted(endpoints: readonly Endpoint[]): Endpoint[] {
  return endpoints.toSorted((a, b) => {
    if (a.address !== b.address) return a.address < b.address ? -1 : 1
    return precedenceOf(a) - precedenceOf(b) || (contentOf(a) < contentOf(b) ? -1 : 1)
  })
}

function contentOf(endpoint: Endpoint): string {
  return `${groupOf(endpoint)} ${endpoint.hostname} ${endpoint.pod}`
}

function sortedTable(table: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(table).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}
