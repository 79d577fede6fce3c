/**
 * Node and export records that the clusters of a Cilium ClusterMesh write into etcd (Cilium 1.20), decoded into
 * objects and checked against their keys. A bad record throws a MeshError; the reader then keeps the last good value.
 */
import * as v from 'valibot'
import { regionLabel, unknownTime, zoneLabel } from '../../clients/clustermesh.ts'
import { clusterId, parseJson } from '../../clients/etcd/record.ts'
import { canonicalAddress, type Family, parseCidr } from '../../model/address.ts'
import { isWireguardKey, wireguardAnnotation } from '../../model/location.ts'
import { derivedServiceName } from '../../model/multicluster.ts'
import { serviceKey } from '../../model/service.ts'
import { flagOf } from '../../model/text/flag.ts'
import { defaultGatewayPort, namedGateway } from '../../model/tunnel/gateway-address.ts'
import { defaultAffinitySeconds, type ExportObject, type NodeObject } from '../objects.ts'
import { checkSame, label, mapOf, type Owner, objectName, portNumber, portsFrom, sharedSpec } from './records.ts'

/** A prefix as text, or a Go IPNet: an address, and a mask in Base64; it differs by version. */
const podNetwork = v.nullish(v.union([v.string(), v.object({ IP: v.string(), Mask: v.string() })]))

/** A Go struct without tags, so its names are capitalised. A network in a form that is not known is left out. */
const nodeRecord = v.object({
  IPAddresses: v.nullish(v.array(v.object({ IP: v.string(), Type: v.optional(v.string(), '') })), []),
  IPv4AllocCIDR: v.fallback(podNetwork, undefined),
  IPv6AllocCIDR: v.fallback(podNetwork, undefined),
  IPv4SecondaryAllocCIDRs: v.fallback(v.nullish(v.array(podNetwork), []), []),
  IPv6SecondaryAllocCIDRs: v.fallback(v.nullish(v.array(podNetwork), []), []),
  Name: objectName,
  Cluster: v.string(),
  ClusterID: clusterId,
  Labels: mapOf(v.string()),
  Annotations: v.fallback(mapOf(v.string()), {}),
})

export function decodeNode(suffix: string, value: Uint8Array, owner: Owner): NodeObject {
  const record = parseJson(nodeRecord, value)
  const { Name, Cluster, ClusterID, Labels } = record
  const { [wireguardAnnotation]: key } = record.Annotations
  const networks = [record.IPv4AllocCIDR, record.IPv6AllocCIDR]
  const more = [...(record.IPv4SecondaryAllocCIDRs ?? []), ...(record.IPv6SecondaryAllocCIDRs ?? [])]
  checkSame('cluster', Cluster, owner.cluster)
  checkSame('ClusterID', ClusterID, owner.clusterId)
  checkSame('name', Name, suffix)
  return {
    ...({ kind: 'Node', namespace: '', name: Name } as const),
    ...{ zone: Labels[zoneLabel], region: Labels[regionLabel] },
    addresses: (record.IPAddresses ?? []).flatMap(({ IP }) => canonicalAddress(IP) ?? []),
    podCidrs: [...networks, ...more].flatMap(network => prefixOf(network) ?? []),
    ...gatewaysOn(record),
    ...(key !== undefined && isWireguardKey(key) && { wireguardKey: key }),
  }
}

/**
 * A node with the label `starlane.dev/gateway` runs a gateway: `true`, or its port. It is reached at the node's external addresses, or
 * at its internal ones where it has no other.
 */
function gatewaysOn({ IPAddresses, Labels }: v.InferOutput<typeof nodeRecord>): Pick<NodeObject, 'gateways'> {
  const mark = Labels['starlane.dev/gateway']
  if (mark === undefined) return {}
  const port = mark === '' || flagOf(mark) ? defaultGatewayPort : Number(mark)
  const of = (type: string) =>
    (IPAddresses ?? []).flatMap(({ IP, Type }) => {
      const address = Type === type ? canonicalAddress(IP) : undefined
      return (address !== undefined && namedGateway(address, port)) || []
    })
  const external = of('ExternalIP')
  return { gateways: external.length > 0 ? external : of('InternalIP') }
}

function prefixOf(network: v.InferOutput<typeof podNetwork>): string | undefined {
  if (network === undefined || network === null) return undefined
  if (typeof network === 'string') return parseCidr(network)?.text
  const bits = [...Buffer.from(network.Mask, 'base64')].reduce(
    (sum, byte) => sum + byte.toString(2).replaceAll('0', '').length,
    0,
  )
  return parseCidr(`${network.IP}/${bits}`)?.text
}

const exportRecord = v.object({
  cluster: v.string(),
  namespace: label,
  name: label,
  type: v.optional(v.string(), 'ClusterSetIP'),
  exportCreationTimestamp: v.optional(v.string(), ''),
  annotations: mapOf(v.string()),
  labels: mapOf(v.string()),
  /** As Cilium wrote them at first. */
  Annotations: mapOf(v.string()),
  Labels: mapOf(v.string()),
  ipFamilies: v.nullish(v.array(v.string()), []),
  internalTrafficPolicy: v.nullish(v.string(), 'Cluster'),
  trafficDistribution: v.nullish(v.string(), ''),
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

/** A ServiceExport of the Multi-Cluster Services API. Its backends are under the name of its derived Service (Cilium 4.3). */
export function decodeServiceExport(suffix: string, value: Uint8Array, owner: Owner): ExportObject {
  const record = parseJson(exportRecord, value)
  const { cluster, namespace, name, type, exportCreationTimestamp, internalTrafficPolicy, trafficDistribution } = record
  checkSame('cluster', cluster, owner.cluster)
  checkSame('name', `${namespace}/${name}`, suffix)
  const createdAt = exportCreationTimestamp === unknownTime ? Number.NaN : Date.parse(exportCreationTimestamp)
  const seconds = record.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds
  return {
    kind: 'ServiceExport',
    namespace,
    name,
    exported: {
      ...(Number.isNaN(createdAt) ? {} : { createdAt }),
      annotations: eitherOf(record.annotations, record.Annotations),
      labels: eitherOf(record.labels, record.Labels),
    },
    standIn: {
      spec: {
        ...sharedSpec,
        headless: type === 'Headless',
        // The address of a derived Service is reachable only inside its cluster.
        clusterIPs: [],
        ports: record.ports.flatMap(({ name, protocol, port, appProtocol }) =>
          portsFrom([[name, protocol, port]]).map(valid => ({ ...valid, ...(appProtocol ? { appProtocol } : {}) })),
        ),
        labels: {},
        ...(record.sessionAffinity === 'ClientIP' ? { sessionAffinity: { timeoutMs: 1000 * seconds } } : {}),
        ...familiesOf(record.ipFamilies),
        internalTrafficPolicy: internalTrafficPolicy === 'Local' ? 'Local' : 'Cluster',
        ...(trafficDistribution === '' ? {} : { trafficDistribution }),
      },
      backendsOf: serviceKey(namespace, derivedServiceName(namespace, name)),
    },
  }
}

type Table = Readonly<Record<string, string>>

function eitherOf(table: Table, legacy: Table): Table {
  return Object.keys(table).length > 0 ? table : legacy
}

function familiesOf(names: readonly string[]): { readonly families?: readonly Family[] } {
  const families = names.flatMap((name): Family[] => (name === 'IPv4' ? [4] : name === 'IPv6' ? [6] : []))
  return families.length > 0 ? { families } : {}
}
