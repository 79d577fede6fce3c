/** Annotations and labels that Starlane reads, with what they mean. `docs/annotations.md` is written from this table. */
import { similar } from './spelling.ts'

export interface Annotation {
  readonly key: string
  /** The older name, read only where the key is absent. */
  readonly alias?: string
  /** The kind of object that has it. */
  readonly on: string
  /** Values, as Markdown. */
  readonly values: string
  /** What the absence of it means. */
  readonly absent: string
  readonly meaning: string
}

/** Of Services: what `decodeSettings` reads. */
export const serviceAnnotations = {
  global: {
    key: 'service.cilium.io/global',
    alias: 'io.cilium/global-service',
    on: 'Service',
    values: '`"true"`, `"false"`',
    absent: '`"false"`; `"true"` where a ServiceExport has the same name',
    meaning: "this cluster's Service is global: it shares its backends and uses those of other clusters",
  },
  shared: {
    key: 'service.cilium.io/shared',
    alias: 'io.cilium/shared-service',
    on: 'Service',
    values: '`"true"`, `"false"`',
    absent: '`"true"`',
    meaning: '`"false"`: uses the backends of other clusters, shares none',
  },
  affinity: {
    key: 'service.cilium.io/affinity',
    alias: 'io.cilium/service-affinity',
    on: 'Service',
    values: '`local`, `remote`, `none`',
    absent: '`none`',
    meaning: 'which backends clients of this cluster prefer',
  },
  clusterOrder: {
    key: 'starlane.dev/affinity',
    on: 'Service',
    values: '`cluster-2,cluster-3`',
    absent: 'no order',
    meaning: 'clusters in order of preference; those not named come last',
  },
  minHealthyLocal: {
    key: 'starlane.dev/min-healthy-local',
    on: 'Service',
    values: '`"3"`, `"30%"`',
    absent: 'remote backends wait until no local one is left',
    meaning:
      'with fewer healthy local backends, as many remote ones are used too as are missing; it implies affinity `local`',
  },
  clusterWeights: {
    key: 'starlane.dev/cluster-weights',
    on: 'Service',
    values: '`cluster-1=80,cluster-2=20`',
    absent: 'each backend has its own weight',
    meaning: 'share of each cluster, independent of the number of its backends, their ports and families',
  },
  sendProxy: {
    key: 'starlane.dev/send-proxy',
    on: 'Service',
    values: '`v2`',
    absent: 'nothing is sent',
    meaning: "tells backends the client's address by the PROXY protocol; works for services that are not global too",
  },
} as const satisfies Readonly<Record<string, Annotation>>

/** Of other kinds of objects. */
export const otherAnnotations: readonly Annotation[] = [
  {
    key: 'service.cilium.io/weight',
    on: 'EndpointSlice',
    values: '`0` to `99999`',
    absent: '`100`',
    meaning: 'weight of the backends of the slice beside others of the service',
  },
  {
    key: 'clustermesh.cilium.io/global',
    on: 'Namespace',
    values: '`"true"`, `"false"`',
    absent: '`"true"`; `"false"` with `clusters[].globalNamespaces: marked`',
    meaning: '`"false"`: services of this namespace are not exported; they may use those of other clusters',
  },
  {
    key: 'starlane.dev/audit',
    on: 'NetworkPolicy, CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy',
    values: '`"true"`, `"false"`',
    absent: '`"false"`',
    meaning: 'the policy refuses nothing; what it would refuse is counted and shown',
  },
  {
    key: 'starlane.dev/gateways',
    on: 'Service',
    values: '`gw.example, 203.0.113.7:443`; port 15008 where none is given',
    absent: 'see the label `starlane.dev/gateway`',
    meaning: 'where the gateways of its cluster are reached, for others with `route: tunnel` and no `gateways`',
  },
  {
    key: 'starlane.dev/wireguard-key',
    on: 'Node, and the Node in the etcd of a Cilium mesh',
    values: 'a public key of WireGuard in base64; written by the node agent with `underlay.encryption`',
    absent: 'the node is not reached by WireGuard',
    meaning: 'the key of the node, for the other nodes of all clusters',
  },
]

/** Labels whose values change what Starlane does. */
export const labels: readonly Annotation[] = [
  {
    key: 'service.kubernetes.io/service-proxy-name',
    on: 'Service',
    values: '`starlane`, or what `proxy.serviceProxyName` says',
    absent: 'kube-proxy serves the ClusterIP too, and comes first',
    meaning: 'which proxy the Service is left to; Starlane does not listen for one that is left to another',
  },
  {
    key: 'topology.kubernetes.io/zone',
    on: 'Node',
    values: 'a zone',
    absent: 'no zone',
    meaning: 'zone of the backends and clients there, for `spec.trafficDistribution`',
  },
  {
    key: 'topology.kubernetes.io/region',
    on: 'Node',
    values: 'a region',
    absent: 'no region',
    meaning: 'region of the backends and clients there',
  },
  {
    key: 'multicluster.kubernetes.io/service-name',
    on: 'EndpointSlice',
    values: 'a ServiceImport',
    absent: 'the slice belongs to the Service that `kubernetes.io/service-name` names',
    meaning: 'the import that the slice of another cluster belongs to; it needs the next label',
  },
  {
    key: 'multicluster.kubernetes.io/source-cluster',
    on: 'EndpointSlice',
    values: 'a cluster',
    absent: 'the cluster that the slice is read from',
    meaning: 'the cluster that the endpoints of the slice are in',
  },
  {
    key: 'starlane.dev/gateway',
    on: 'Service of type LoadBalancer (there also as an annotation), Node in the etcd of a Cilium mesh',
    values: '`"true"`; of a node also the port',
    absent: 'no gateway',
    meaning: 'its addresses are gateways of its cluster, for others with `route: tunnel` and no `gateways`',
  },
]

const ofServices: readonly Annotation[] = Object.values(serviceAnnotations)
const keysOfServices = ofServices.flatMap(({ key, alias }) => (alias === undefined ? [key] : [key, alias]))
const knownKeys = new Set([...keysOfServices, ...[...otherAnnotations, ...labels].map(({ key }) => key)])
const families = new Set(keysOfServices.map(key => key.slice(0, key.indexOf('/'))))

/** Whether it is one that nobody reads, in a family of those that are read. */
export function isOfFamily(key: string): boolean {
  return families.has(key.slice(0, Math.max(0, key.indexOf('/'))).toLowerCase()) && !knownKeys.has(key)
}

/**
 * What an annotation of a Service that nobody reads was probably meant to be: one of the same family with a similar name, or of
 * another with this name. Others of these families exist, of Cilium and of later versions.
 */
export function meantAnnotation(key: string): string | undefined {
  if (!isOfFamily(key)) return undefined
  const at = key.indexOf('/')
  const [family, name] = [key.slice(0, at).toLowerCase(), key.slice(at + 1)]
  const siblings = keysOfServices.filter(known => known.startsWith(`${family}/`))
  const near = similar(
    name,
    siblings.map(known => known.slice(at + 1)),
  )
  return near === undefined
    ? keysOfServices.find(known => known.endsWith(`/${name}`))
    : siblings.find(known => known.endsWith(`/${near}`))
}
