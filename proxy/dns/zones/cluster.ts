/**
 * `cluster.local`: the Kubernetes DNS specification 1.1.0, in CoreDNS's reading where the specification is silent.
 *
 *     svc.ns.svc                virtual address, or every ready endpoint of a headless service
 *     host.svc.ns.svc           one endpoint, by its hostname or its address with dashes
 *     _port._proto.svc.ns.svc   SRV
 *     a-b-c-d.ns.pod            pods
 *     ns.dns, dns-version       about the zone itself
 *
 * Pure: a view and a question to a finding. Names that exist only to carry others are NODATA, the rest is NXDOMAIN.
 */
import { canonicalAddress } from '../../model/address.ts'
import type { Backend } from '../../model/backend.ts'
import type { GlobalService } from '../../model/service.ts'
import { addressRecord, isHostName } from '../message/record.ts'
import { types } from '../message/wire.ts'
import { endpointLabel } from './address-index.ts'
import { type Ask, addresses, type Finding, nodata, nxdomain, type Offer, records, servers } from './lookup.ts'
import { headlessRecords, virtualRecords } from './service-records.ts'
import type { View } from './view.ts'

export type PodsMode = 'disabled' | 'insecure' | 'verified'

export interface ClusterZone {
  readonly origin: string
  readonly pods: PodsMode
  /** Where this responder answers, for `ns.dns`. */
  readonly addresses: readonly string[]
  /** Hide virtual-IP services that have no ready backend in any cluster. */
  readonly hideEmpty: boolean
}

const versionTtl = 28_800

export function findInCluster(ask: Ask, zone: ClusterZone, view: View): Finding {
  const [last, ...before] = ask.labels.toReversed()
  switch (last) {
    case undefined:
      return apex(ask, zone)
    case 'svc':
      return services(ask, zone, view, before)
    case 'pod':
      return zone.pods === 'disabled' ? nxdomain : pods(ask, zone, view, before)
    case 'dns':
      return nameServer(ask, zone, before)
    case 'dns-version':
      return before.length > 0 ? nxdomain : version(ask, '1.1.0')
    default:
      return nxdomain
  }
}

/** NS at the apex; the SOA is the caller's, since every denial needs it too. */
export function apex(ask: Ask, zone: { readonly origin: string; readonly addresses: readonly string[] }): Finding {
  if (ask.type !== types.NS) return nodata
  const target = `ns.dns.${zone.origin}`
  const glue = zone.addresses.map(address => addressRecord(target, ask.ttl, address))
  return records([{ name: ask.name, ttl: ask.ttl, type: types.NS, target }], glue)
}

export function nameServer(
  ask: Ask,
  zone: { readonly addresses: readonly string[] },
  before: readonly string[],
): Finding {
  if (before.length === 0) return nodata
  return before.length === 1 && before[0] === 'ns' ? addresses(ask, zone.addresses) : nxdomain
}

export function version(ask: Ask, text: string): Finding {
  return ask.type === types.TXT
    ? records([{ name: ask.name, ttl: versionTtl, type: types.TXT, texts: [text] }])
    : nodata
}

function services(ask: Ask, zone: ClusterZone, view: View, before: readonly string[]): Finding {
  const [namespace, name, ...below] = before
  if (namespace === undefined) return nodata
  if (name === undefined) return view.hasNamespace(namespace) ? nodata : nxdomain
  const service = view.service(namespace, name)
  // What is only imported has a name in the clusterset and none here (KEP-1645).
  if (!service?.local || service.local.imported) return nxdomain
  if (service.local.type === 'ExternalName') return external(service.local.externalName, below)
  const origin = `${name}.${namespace}.svc.${zone.origin}`
  return service.local.headless
    ? headless(ask, view, service, origin, below)
    : virtual(ask, zone, view, service, origin, below)
}

function external(target: string | undefined, below: readonly string[]): Finding {
  const name = target?.replace(/\.$/, '').toLowerCase() ?? ''
  // What looks like an address is no name, and an alias to it would never resolve (CoreDNS gives none either).
  if (below.length > 0 || !isHostName(name) || canonicalAddress(name) !== undefined) return nxdomain
  return { kind: 'alias', target: name }
}

function headless(ask: Ask, view: View, service: GlobalService, origin: string, below: readonly string[]): Finding {
  const preferred = view.preferred(service)
  // The specification wants a headless service without ready endpoints to be missing, not empty (2.4.1).
  if (preferred.length === 0) return nxdomain
  const nameOf = (endpoint: { hostname?: string; address: string }) => `${endpointLabel(endpoint)}.${origin}`
  return headlessRecords(ask, preferred, nameOf, below) ?? host(ask, view.ready(service), below, portsOf)
}

function virtual(
  ask: Ask,
  zone: ClusterZone,
  view: View,
  service: GlobalService,
  origin: string,
  below: readonly string[],
): Finding {
  if (zone.hideEmpty && !service.backends.some(backend => backend.state === 'active')) return nxdomain
  const found = virtualRecords(ask, service, service.local?.ports ?? [], origin, below)
  return found ?? host(ask, view.endpoints(service), below, ({ ports }) => ports.map(({ port }) => port))
}

/** The endpoints that share one host name; there may be several. SRV tells their ports, as CoreDNS does. */
export function host<E extends { readonly hostname?: string; readonly address: string }>(
  ask: Ask,
  endpoints: readonly E[],
  below: readonly string[],
  portsOf: (endpoint: E) => readonly number[],
): Finding {
  const hosts = below.length === 1 ? endpoints.filter(endpoint => endpointLabel(endpoint) === below[0]) : []
  if (hosts.length === 0) return nxdomain
  if (ask.type === types.SRV)
    return servers(
      ask,
      hosts.flatMap(each => offersOf(ask.name, each.address, portsOf(each))),
    )
  return addresses(
    ask,
    hosts.map(({ address }) => address),
  )
}

function offersOf(target: string, address: string, ports: readonly number[]): Offer[] {
  return ports.map(port => ({ port, target, addresses: [address] }))
}

/** None of an endpoint without ports. */
export function portsOf({ port }: Backend): readonly number[] {
  return port > 0 ? [port] : []
}

/** `10-0-0-7.ns`: the address that the name spells, if the namespace exists or, `verified`, if a Pod or endpoint of it has it. */
function pods(ask: Ask, zone: ClusterZone, view: View, before: readonly string[]): Finding {
  const [namespace, dashed, ...rest] = before
  if (namespace === undefined) return nodata
  if (!view.hasNamespace(namespace)) return nxdomain
  if (dashed === undefined) return nodata
  const address = rest.length === 0 ? spelled(dashed) : undefined
  if (address === undefined) return nxdomain
  return zone.pods === 'insecure' || view.hasPod(namespace, address) ? addresses(ask, [address]) : nxdomain
}

function spelled(dashed: string): string | undefined {
  return canonicalAddress(dashed.replaceAll('-', '.')) ?? canonicalAddress(dashed.replaceAll('-', ':'))
}
