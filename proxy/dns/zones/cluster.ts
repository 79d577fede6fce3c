/**
 * `cluster.local`: the Kubernetes DNS specification 1.1.0, and CoreDNS's behaviour where the specification is silent.
 *
 *     svc.ns.svc                virtual address, or every ready endpoint of a headless service
 *     host.svc.ns.svc           one endpoint, by its hostname or its address with dashes
 *     _port._proto.svc.ns.svc   SRV
 *     a-b-c-d.ns.pod            pods
 *     ns.dns, dns-version       about the zone itself
 *
 * A pure function of view and question. Names that only have other names below them get NODATA, the rest NXDOMAIN.
 */
import { canonicalAddress } from '../../model/address.ts'
import type { Backend } from '../../model/backend.ts'
import { dialledPorts, type GlobalService } from '../../model/service.ts'
import { addressRecord, isHostName } from '../message/record.ts'
import { types } from '../message/wire.ts'
import type { PodsMode } from '../options.ts'
import {
  addressRecords,
  type Lookup,
  nodata,
  nxdomain,
  records,
  type SrvTarget,
  srvRecords,
  type ZoneQuestion,
} from './lookup.ts'
import { addressesOf, eachNamed, endpointLabel, headlessRecords, virtualRecords } from './service-records.ts'
import { localhost } from './special-use.ts'
import type { View } from './view.ts'

export interface ClusterZone {
  readonly origin: string
  readonly pods: PodsMode
  /** Addresses of this responder, for `ns.dns`. */
  readonly addresses: readonly string[]
  /** Whether `localhost` with a search suffix is this machine, where no service or namespace has the name. */
  readonly localhost: boolean
  /** Hide virtual-IP services that have no ready backend in any cluster. */
  readonly hideEmpty: boolean
}

const versionTtl = 28_800

export function findInCluster(asked: ZoneQuestion, zone: ClusterZone, view: View): Lookup {
  const [last, ...before] = asked.labels.toReversed()
  switch (last) {
    case undefined:
      return apex(asked, zone)
    case 'svc':
      return services(asked, zone, view, before)
    case 'pod':
      return zone.pods === 'disabled' ? nxdomain : pods(asked, zone, view, before)
    case 'dns':
      return nameServer(asked, zone, before)
    case 'dns-version':
      return before.length > 0 ? nxdomain : version(asked, '1.1.0')
    default:
      return missing(asked, zone, last)
  }
}

/** A client without a hosts file looks `localhost` up with its search path. */
function missing(asked: ZoneQuestion, zone: ClusterZone, label: string): Lookup {
  return label === 'localhost' && zone.localhost ? localhost(asked) : nxdomain
}

/** NS at the apex. The caller adds the SOA, as for every denial. */
export function apex(
  asked: ZoneQuestion,
  zone: { readonly origin: string; readonly addresses: readonly string[] },
): Lookup {
  if (asked.type !== types.NS) return nodata
  const target = `ns.dns.${zone.origin}`
  const glue = zone.addresses.map(address => addressRecord(target, asked.ttl, address))
  return records([{ name: asked.name, ttl: asked.ttl, type: types.NS, target }], glue)
}

export function nameServer(
  asked: ZoneQuestion,
  zone: { readonly addresses: readonly string[] },
  before: readonly string[],
): Lookup {
  if (before.length === 0) return nodata
  return before.length === 1 && before[0] === 'ns' ? addressRecords(asked, zone.addresses) : nxdomain
}

export function version(asked: ZoneQuestion, text: string): Lookup {
  return asked.type === types.TXT
    ? records([{ name: asked.name, ttl: versionTtl, type: types.TXT, texts: [text] }])
    : nodata
}

function services(asked: ZoneQuestion, zone: ClusterZone, view: View, before: readonly string[]): Lookup {
  const [namespace, name, ...below] = before
  if (namespace === undefined) return nodata
  if (name === undefined) return view.hasNamespace(namespace) ? nodata : missing(asked, zone, namespace)
  const service = view.service(namespace, name)
  // A service that is only imported has a name in the clusterset zone and none here (KEP-1645).
  if (!service?.local || service.local.imported) {
    const isBelow = namespace === 'localhost' && !view.hasNamespace(namespace)
    return missing(asked, zone, isBelow ? namespace : name)
  }
  if (service.local.type === 'ExternalName') return externalName(service.local.externalName, below)
  const origin = `${name}.${namespace}.svc.${zone.origin}`
  return service.local.headless
    ? headless(asked, view, service, origin, below)
    : virtual(asked, zone, view, service, origin, below)
}

function externalName(target: string | undefined, below: readonly string[]): Lookup {
  const name = target?.replace(/\.$/, '').toLowerCase() ?? ''
  // An alias to an IP address would never resolve; CoreDNS gives no record either.
  if (below.length > 0 || !isHostName(name) || canonicalAddress(name) !== undefined) return nxdomain
  return { kind: 'alias', target: name }
}

function headless(
  asked: ZoneQuestion,
  view: View,
  service: GlobalService,
  origin: string,
  below: readonly string[],
): Lookup {
  const preferred = view.preferred(service)
  // A headless service without ready endpoints does not exist (2.4.1 of the specification).
  if (preferred.length === 0) return nxdomain
  const labelOf = labelsOf(service)
  const nameOf = (backend: Backend) => `${labelOf(backend)}.${origin}`
  return (
    headlessRecords(asked, preferred, nameOf, below) ??
    hostRecords(asked, eachNamed(view.ready(service)), below, portsOf, labelOf)
  )
}

/**
 * The labels of a headless service's endpoints in this zone. A label names endpoints of one cluster: of the first that lists one,
 * ready or not, the local cluster before the others. An endpoint of another cluster with that hostname is known by its address.
 */
function labelsOf({ members }: GlobalService): (backend: Backend) => string {
  const clusters = new Map<string, string>()
  for (const { cluster, endpoints } of members) {
    for (const endpoint of endpoints) {
      const label = endpointLabel(endpoint)
      if (!clusters.has(label)) clusters.set(label, cluster)
    }
  }
  return backend => {
    const label = endpointLabel(backend)
    const owner = clusters.get(label) ?? backend.cluster
    return owner === backend.cluster ? label : endpointLabel({ address: backend.address })
  }
}

function virtual(
  asked: ZoneQuestion,
  zone: ClusterZone,
  view: View,
  service: GlobalService,
  origin: string,
  below: readonly string[],
): Lookup {
  if (zone.hideEmpty && !service.backends.some(backend => backend.state === 'active')) return nxdomain
  const found = virtualRecords(
    asked,
    addressesOf(service),
    dialledPorts(service.frontends, service.local?.ports ?? []),
    origin,
    below,
  )
  return found ?? hostRecords(asked, view.endpoints(service), below, ({ ports }) => ports.map(({ port }) => port))
}

/** The records of the endpoints with one host name; there may be several. SRV gives their ports, as in CoreDNS. */
export function hostRecords<E extends { readonly hostname?: string; readonly address: string }>(
  asked: ZoneQuestion,
  endpoints: readonly E[],
  below: readonly string[],
  portsOf: (endpoint: E) => readonly number[],
  labelOf: (endpoint: E) => string = endpointLabel,
): Lookup {
  const hosts = below.length === 1 ? endpoints.filter(endpoint => labelOf(endpoint) === below[0]) : []
  if (hosts.length === 0) return nxdomain
  if (asked.type === types.SRV)
    return srvRecords(
      asked,
      hosts.flatMap(each => srvTargets(asked.name, each.address, portsOf(each))),
    )
  return addressRecords(
    asked,
    hosts.map(({ address }) => address),
  )
}

function srvTargets(host: string, address: string, ports: readonly number[]): SrvTarget[] {
  return ports.map(port => ({ port, host, addresses: [address] }))
}

/** The port of a backend; port 0 stands for an endpoint without ports. */
export function portsOf({ port }: Pick<Backend, 'port'>): readonly number[] {
  return port > 0 ? [port] : []
}

/** `10-0-0-7.ns`: the address in the name, if the namespace exists or, with `verified`, if a Pod or endpoint of it has it. */
function pods(asked: ZoneQuestion, zone: ClusterZone, view: View, before: readonly string[]): Lookup {
  const [namespace, dashed, ...rest] = before
  if (namespace === undefined) return nodata
  if (!view.hasNamespace(namespace)) return nxdomain
  if (dashed === undefined) return nodata
  const address = rest.length === 0 ? addressIn(dashed) : undefined
  if (address === undefined) return nxdomain
  return zone.pods === 'insecure' || view.hasPod(namespace, address) ? addressRecords(asked, [address]) : nxdomain
}

function addressIn(dashed: string): string | undefined {
  return canonicalAddress(dashed.replaceAll('-', '.')) ?? canonicalAddress(dashed.replaceAll('-', ':'))
}
