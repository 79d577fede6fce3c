/**
 * Service records that the clusters of a Cilium ClusterMesh write into etcd (Cilium 1.20): a service with all of its backends in one JSON value,
 * which may have 10,000 of them.
 */

import { isDeepStrictEqual } from 'node:util'
import * as v from 'valibot'
import { parse } from '../../clients/etcd/record.ts'
import { type EndpointPort, serviceKey } from '../../model/service.ts'
import { commonPorts } from '../common.ts'
import type { ClusterObject, DeclaredEndpoint, EndpointsObject, ServiceObject, ServiceSpec } from '../objects.ts'
import { tables, takeApart } from './large-record.ts'
import { type PlainEntry, plainService } from './plain-service.ts'
import {
  checkedAddress,
  checkOwner,
  distinctPorts,
  label,
  mapOf,
  type Owner,
  owned,
  portNumber,
  portsFrom,
  sharedSpec,
  zoneOf,
} from './records.ts'

const portsByIp = mapOf(v.nullable(v.record(v.string(), v.object({ Protocol: v.string(), Port: portNumber }))))
const zonesByIp = mapOf(
  v.object({
    zone: v.optional(v.string(), ''),
    forZones: v.nullish(v.array(v.object({ name: v.string() })), []),
  }),
)
const texts = mapOf(v.string())
const serviceRecord = v.object({
  ...owned,
  name: label,
  frontends: portsByIp,
  backends: portsByIp,
  hostnames: texts,
  zones: zonesByIp,
  labels: texts,
  shared: v.optional(v.boolean(), false),
})

/** A longer record may have to be taken apart. */
const mostPlain = 16 << 10

/** Endpoints that are made between two pauses. */
const endpointsAtOnce = 1000

/**
 * The Service and its backends; a large record pauses by `yield`. `suffix` is the key after its prefix. Nothing for a record that is not
 * shared, which means the same as no record. Throws MeshError. Endpoints that are as they were in `before` are the very same objects.
 */
export function* decodeService(
  suffix: string,
  value: Uint8Array,
  owner: Owner,
  before: readonly DeclaredEndpoint[] = [],
): Generator<undefined, readonly ClusterObject[]> {
  const plain = value.length <= mostPlain && before.length === 0 ? plainService(suffix, value, owner) : undefined
  if (plain) {
    const { namespace, name, frontends, backends, labels } = plain
    const addresses = frontends.map(({ address }) => address)
    const [first] = frontends
    const ports =
      first && frontends.length === 1
        ? first.ports
        : commonPorts(distinctPorts(frontends.flatMap(({ ports }) => ports)))
    return [
      serviceOf(namespace, name, { addresses, ports, labels }),
      endpointsOf(namespace, name, backends.map(plainEndpoint)),
    ]
  }
  const large = yield* takeApart(value)
  const record = parse(serviceRecord, large.rest)
  checkOwner(suffix, record, owner)
  if (!record.shared) return []
  const isEmpty = Object.keys(record.backends).length === 0 && !large.cuts.has('backends')
  // Cilium writes a global ExternalName Service with an empty frontend address: it has no backends.
  if (Object.hasOwn(record.frontends, '') && isEmpty) return []

  /** What is in the record itself, and what was left out there. */
  function* entriesOf<T>(name: keyof typeof record, schema: Table<T>, first: Readonly<Record<string, T>>): Entries<T> {
    yield first
    for (const table of tables(large, name)) yield parse(v.object({ [name]: schema }), { [name]: table })[name] ?? {}
  }
  const frontends = yield* portsOf(entriesOf('frontends', portsByIp, record.frontends))
  const backends = yield* portsOf(entriesOf('backends', portsByIp, record.backends))
  const hostnames = yield* byAddress(entriesOf('hostnames', texts, record.hostnames))
  const hints = yield* byAddress(entriesOf('zones', zonesByIp, record.zones))
  const labels: Record<string, string> = {}
  for (const table of entriesOf('labels', texts, record.labels)) Object.assign(labels, table)

  const { namespace, name } = record
  const addresses = [...frontends.keys()]
  const ports = distinctPorts([...frontends.values()].flat())
  const service = serviceOf(namespace, name, { addresses, ports, labels })
  const known = new Map(before.map(endpoint => [endpoint.address, endpoint]))
  const endpoints: DeclaredEndpoint[] = []
  for (const [address, ports] of backends) {
    const hint = hints.get(address)
    const hostname = hostnames.get(address)
    const endpoint = {
      address,
      ports,
      // A service record has no conditions: every backend in it is usable (Cilium 1.5).
      ...usable,
      ...(hostname === undefined ? {} : { hostname }),
      ...zoneOf(hint?.zone ?? '', hint?.forZones ?? []),
    }
    const same = known.get(address)
    endpoints.push(same && isDeepStrictEqual(same, endpoint) ? same : endpoint)
    if (endpoints.length % endpointsAtOnce === 0) yield
  }
  return [service, endpointsOf(namespace, name, endpoints)]
}

function serviceOf(
  namespace: string,
  name: string,
  { addresses, ports, labels }: Pick<ServiceSpec, 'ports' | 'labels'> & { readonly addresses: readonly string[] },
): ServiceObject {
  const { type, annotations, publishNotReadyAddresses, internalTrafficPolicy } = sharedSpec
  const headless = addresses.length === 0
  // One literal, which takes less memory than what is added to a copy.
  return {
    kind: 'Service',
    namespace,
    name,
    spec: {
      type,
      annotations,
      publishNotReadyAddresses,
      internalTrafficPolicy,
      headless,
      clusterIPs: addresses,
      ports,
      labels,
    },
  }
}

function endpointsOf(namespace: string, name: string, endpoints: readonly DeclaredEndpoint[]): EndpointsObject {
  return { kind: 'Endpoints', namespace, name, service: serviceKey(namespace, name), readyOnly: true, endpoints }
}

/** Most have no more than a zone: those are written as one literal, which takes half of the memory. */
function plainEndpoint({ address, ports, hostname, zone = '', forZones = [] }: PlainEntry): DeclaredEndpoint {
  if (hostname !== undefined || forZones.length > 0) {
    return { address, ports, ...usable, ...(hostname === undefined ? {} : { hostname }), ...zoneOf(zone, forZones) }
  }
  return zone === ''
    ? { address, ports, ready: true, serving: true, terminating: false }
    : { address, ports, ready: true, serving: true, terminating: false, zone }
}

const usable = { ready: true, serving: true, terminating: false }

type Table<T> = v.GenericSchema<unknown, Readonly<Record<string, T>>>
type Entries<T> = Generator<Readonly<Record<string, T>>, void>
type Ports = { readonly [name: string]: { readonly Protocol: string; readonly Port: number } } | null

/** An address may be written in two ways; their ports are joined. */
function* portsOf(parts: Entries<Ports>): Generator<undefined, Map<string, readonly EndpointPort[]>> {
  const found = new Map<string, readonly EndpointPort[]>()
  /** Most addresses have the same ports, and share them. */
  const shared = new Map<string, readonly EndpointPort[]>()
  let pauses = 0
  for (const table of parts) {
    if (pauses++ > 0) yield
    for (const [ip, named] of Object.entries(table)) {
      const address = checkedAddress(ip)
      const text = JSON.stringify(named)
      const given = shared.get(text) ?? commonPorts(distinctPorts(portsIn(named)))
      shared.set(text, given)
      const known = found.get(address)
      found.set(address, known ? distinctPorts([...known, ...given]) : given)
    }
  }
  return found
}

function portsIn(named: Ports): EndpointPort[] {
  return portsFrom(Object.entries(named ?? {}).map(([name, { Protocol, Port }]) => [name, Protocol, Port]))
}

function* byAddress<T>(parts: Entries<T>): Generator<undefined, Map<string, T>> {
  const found = new Map<string, T>()
  let pauses = 0
  for (const table of parts) {
    if (pauses++ > 0) yield
    for (const [ip, value] of Object.entries(table)) found.set(checkedAddress(ip), value)
  }
  return found
}
