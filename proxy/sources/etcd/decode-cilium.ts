/**
 * What the clusters of a Cilium ClusterMesh write into etcd, decoded and held to what the key says of it (Cilium 1.20). A
 * record that is not sound throws a text for people; whoever reads keeps what was known before.
 */
import * as v from 'valibot'
import { zoneLabel } from '../../clients/clustermesh.ts'
import { clusterId, parseJson } from '../../clients/etcd/record.ts'
import type { ClusterService, EndpointPort, ServiceExport, ServicePort } from '../../model/service.ts'
import {
  checkedAddress,
  checkOwner,
  checkSame,
  distinctPorts,
  exported,
  label,
  mapOf,
  type Owner,
  owned,
  portNumber,
  portsFrom,
  zoneOf,
} from './records.ts'

const portsByIp = mapOf(v.nullable(v.record(v.string(), v.object({ Protocol: v.string(), Port: portNumber }))))
const zones = v.object({
  zone: v.optional(v.string(), ''),
  forZones: v.nullish(v.array(v.object({ name: v.string() })), []),
})
const serviceRecord = v.object({
  ...owned,
  name: label,
  frontends: portsByIp,
  backends: portsByIp,
  hostnames: mapOf(v.string()),
  zones: mapOf(zones),
  labels: mapOf(v.string()),
  shared: v.optional(v.boolean(), false),
})

/** `suffix` is the key behind the prefix. Undefined for a record that says it is not shared, which is as good as none. */
export function decodeService(suffix: string, value: Uint8Array, owner: Owner): ClusterService | undefined {
  const record = parseJson(serviceRecord, value)
  checkOwner(suffix, record, owner)
  if (!record.shared) return undefined
  const frontends = portsOf(record.frontends)
  const hostnames = byAddress(record.hostnames)
  const hints = byAddress(record.zones)
  return {
    ...exported(record, owner),
    headless: frontends.size === 0,
    clusterIPs: [...frontends.keys()],
    ports: distinctPorts([...frontends.values()].flat()),
    labels: record.labels,
    endpoints: [...portsOf(record.backends)].map(([address, ports]) => ({
      address,
      ports,
      // A legacy record tells no conditions: whatever it names is used (Cilium 1.5).
      ...usable,
      ...(hostnames.has(address) ? { hostname: hostnames.get(address) ?? '' } : {}),
      ...zoneOf(hints.get(address)?.zone ?? '', hints.get(address)?.forZones ?? []),
    })),
  }
}

const usable = { ready: true, serving: true, terminating: false }

type PortsByIp = v.InferOutput<typeof portsByIp>

/** One address may be written in two ways; then both count. */
function portsOf(ports: PortsByIp): Map<string, readonly EndpointPort[]> {
  const found = new Map<string, readonly EndpointPort[]>()
  for (const [ip, named] of Object.entries(ports)) {
    const address = checkedAddress(ip)
    const given = portsFrom(Object.entries(named ?? {}).map(([name, { Protocol, Port }]) => [name, Protocol, Port]))
    found.set(address, distinctPorts([...(found.get(address) ?? []), ...given]))
  }
  return found
}

function byAddress<T>(values: Readonly<Record<string, T>>): Map<string, T> {
  return new Map(Object.entries(values).map(([ip, value]) => [checkedAddress(ip), value]))
}

/** A node of a remote cluster, as far as a proxy has use for it. */
export interface RemoteNode {
  readonly name: string
  readonly addresses: readonly { readonly type: string; readonly address: string }[]
  readonly zone?: string
}

/** A Go struct without tags: its names are capitalised. The pod networks, a table today and a text tomorrow, are left alone. */
const nodeRecord = v.object({
  Name: v.pipe(v.string(), v.nonEmpty()),
  Cluster: v.string(),
  ClusterID: clusterId,
  IPAddresses: v.nullish(v.array(v.object({ Type: v.string(), IP: v.string() })), []),
  Labels: mapOf(v.string()),
})

export function decodeNode(suffix: string, value: Uint8Array, owner: Owner): RemoteNode {
  const { Name, Cluster, ClusterID, IPAddresses, Labels } = parseJson(nodeRecord, value)
  checkSame('cluster', Cluster, owner.cluster)
  checkSame('ClusterID', ClusterID, owner.clusterId)
  checkSame('name', Name, suffix)
  const zone = Labels[zoneLabel]
  return {
    name: Name,
    addresses: IPAddresses.map(({ Type, IP }) => ({ type: Type, address: checkedAddress(IP) })),
    ...(zone === undefined ? {} : { zone }),
  }
}

/** A ServiceExport of the Multi-Cluster Services API: what a service is to all clusters. Its backends are told elsewhere. */
export interface ExportSaid {
  readonly namespace: string
  readonly name: string
  readonly headless: boolean
  readonly ports: readonly ServicePort[]
  readonly sessionAffinity?: { readonly timeoutMs: number }
  readonly exported: ServiceExport
}

const exportRecord = v.object({
  cluster: v.string(),
  namespace: label,
  name: label,
  type: v.optional(v.string(), 'ClusterSetIP'),
  exportCreationTimestamp: v.optional(v.string(), ''),
  annotations: mapOf(v.string()),
  labels: mapOf(v.string()),
  sessionAffinity: v.optional(v.string(), 'None'),
  sessionAffinityConfig: v.nullish(
    v.object({ clientIP: v.nullish(v.object({ timeoutSeconds: v.nullish(v.number()) })) }),
  ),
  ports: v.nullish(
    v.array(
      v.object({
        name: v.optional(v.string(), ''),
        protocol: v.optional(v.string(), 'TCP'),
        port: portNumber,
        appProtocol: v.nullish(v.string()),
      }),
    ),
    [],
  ),
})

/** Kubernetes' own, where a ClientIP affinity names none. */
const defaultAffinitySeconds = 10_800

export function decodeServiceExport(suffix: string, value: Uint8Array, owner: Owner): ExportSaid {
  const record = parseJson(exportRecord, value)
  const { cluster, namespace, name, type, exportCreationTimestamp, annotations, labels } = record
  checkSame('cluster', cluster, owner.cluster)
  checkSame('name', `${namespace}/${name}`, suffix)
  const createdAt = Date.parse(exportCreationTimestamp)
  const seconds = record.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds
  return {
    namespace,
    name,
    headless: type === 'Headless',
    ports: record.ports.flatMap(({ name, protocol, port, appProtocol }) =>
      portsFrom([[name, protocol, port]]).map(sound => ({ ...sound, ...(appProtocol ? { appProtocol } : {}) })),
    ),
    ...(record.sessionAffinity === 'ClientIP' ? { sessionAffinity: { timeoutMs: 1000 * seconds } } : {}),
    exported: { ...(Number.isNaN(createdAt) ? {} : { createdAt }), annotations, labels },
  }
}
