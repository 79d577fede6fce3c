/**
 * EndpointSlices with the endpoints of other clusters, for ingress controllers, kube-proxy and headless clients. The semantics
 * are Cilium's `global-sync-endpoint-slices` (Cilium 1.8): an annotation of the local Service asks for them; ports are those
 * of the remote endpoints, not of the local Service; hostnames are copied unchanged.
 */
import { type Family, familyOf } from '../model/address.ts'
import { type ClusterService, type Endpoint, type GlobalService, precedenceOf } from '../model/service.ts'
import { flagOf } from '../model/text/flag.ts'
import type { Json } from '../model/text/json.ts'
import { derivedLabel } from './imports.ts'
import { digestOf, type Manifest, managedBy, withDigest } from './manifest.ts'

export const sourceClusterLabel = 'multicluster.kubernetes.io/source-cluster'
/** The ServiceImport that a slice belongs to (KEP-1645). */
const importLabel = 'multicluster.kubernetes.io/service-name'
export const managedByLabel = 'endpointslice.kubernetes.io/managed-by'
export const sliceManager = `endpointslice-mesh-controller.${managedBy}`

const syncAnnotation = 'service.cilium.io/global-sync-endpoint-slices'
/** Of all endpoints of a slice; 100 by default. */
const weightAnnotation = 'service.cilium.io/weight'
/** The API allows 1000; like Kubernetes' own controller we use 100, so that a change sends little. */
const maxEndpoints = 100

/** Sorted by name. */
export function slicesOf(service: GlobalService): Manifest[] {
  const { local, members, backends } = service
  if (!local || !wantsSlices(service)) return []
  // Its readers check nothing: they would send to the backends of a cluster that has been lost for too long.
  const demoted = new Set(backends.flatMap(({ cluster, demoted }) => (demoted ? cluster : [])))
  // A derived Service has no selector, so its local endpoints have to be written too.
  return members
    .filter(({ cluster }) => (cluster !== local.cluster || isOwnDerived(local)) && !demoted.has(cluster))
    .flatMap(member => groups(member).flatMap(group => bucketsOf(group).map(bucket => slice(service, member, bucket))))
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
}

/** By annotation, or by being headless, since clients of a headless Service have no other way. */
function wantsSlices({ local, settings }: GlobalService): boolean {
  if (!local || !settings.global || local.imported) return false
  // A derived Service made by another controller gets its endpoints from that one.
  if (local.derivedFrom !== undefined && !isOwnDerived(local)) return false
  const asked = local.annotations[syncAnnotation]
  return asked === undefined ? local.headless : flagOf(asked) === true
}

function isOwnDerived({ derivedFrom, labels }: ClusterService): boolean {
  return derivedFrom !== undefined && labels[derivedLabel] === 'true'
}

/** Endpoints that can share a slice. */
interface Group {
  readonly family: Family
  readonly ports: Endpoint['ports']
  readonly weight: number
  readonly endpoints: readonly Endpoint[]
  readonly id: string
}

function groups({ endpoints }: ClusterService): Group[] {
  const byId = Map.groupBy(endpoints, ({ address, ports, weight = 100 }) =>
    JSON.stringify([familyOf(address), ports, ...(weight === 100 ? [] : [weight])]),
  )
  return [...byId].flatMap(([id, endpoints]): Group[] => {
    const [first] = endpoints
    return first
      ? [{ id, family: familyOf(first.address), ports: first.ports, weight: first.weight ?? 100, endpoints }]
      : []
  })
}

/**
 * Splits by a hash of the address, so that adding or removing an endpoint changes one slice. The number of buckets is a power
 * of two, large enough that none exceeds the limit.
 */
function bucketsOf(group: Group): Group[] {
  for (
    let count = 2 ** Math.ceil(Math.log2(Math.max(1, (group.endpoints.length / maxEndpoints) * 1.5)));
    ;
    count *= 2
  ) {
    const buckets = Map.groupBy(
      group.endpoints,
      ({ address }) => Number.parseInt(digestOf(address).slice(0, 8), 16) % count,
    )
    if (count > group.endpoints.length || [...buckets.values()].every(({ length }) => length <= maxEndpoints)) {
      return [...buckets].map(([i, endpoints]) => ({ ...group, endpoints, id: `${group.id} ${i}/${count}` }))
    }
  }
}

function slice({ namespace, name, local }: GlobalService, { cluster }: ClusterService, group: Group): Manifest {
  const { family, ports, weight, endpoints, id } = group
  return withDigest({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      namespace,
      name: `${name}-${cluster}-${digestOf(id).slice(0, 10)}`,
      labels: {
        'kubernetes.io/service-name': name,
        [sourceClusterLabel]: cluster,
        [managedByLabel]: sliceManager,
        ...(local?.derivedFrom !== undefined && { [importLabel]: local.derivedFrom }),
      },
      ...(weight !== 100 && { annotations: { [weightAnnotation]: String(weight) } }),
    },
    addressType: `IPv${family}`,
    ports: ports.map(({ name, protocol, port }) => ({ name, protocol, port })),
    endpoints: endpoints.toSorted(byAddress).map(endpointJson),
  })
}

/** Those that share an address, the most usable first, and then in the order given. */
function byAddress(a: Endpoint, b: Endpoint): number {
  return a.address === b.address ? precedenceOf(a) - precedenceOf(b) : a.address < b.address ? -1 : 1
}

/** The node is omitted, since it is not in this cluster. */
function endpointJson({ address, ready, serving, terminating, hostname, zone }: Endpoint): Json {
  return {
    addresses: [address],
    conditions: { ready, serving, terminating },
    ...(hostname !== undefined && { hostname }),
    ...(zone !== undefined && { zone }),
  }
}
