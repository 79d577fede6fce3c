/**
 * `clusterset.local`: what the clusters share with each other (KEP-1645, its DNS specification 1.0.0).
 *
 *     svc.ns.svc                the virtual address, or the endpoints of every cluster that shares a headless service
 *     host.cluster.svc.ns.svc   one endpoint of a headless service, in the cluster of that name
 *     _port._proto.svc.ns.svc   SRV
 *
 * A service is in it when any cluster declares it global and shared, as a ServiceExport does, or ours imports it. Where the
 * exporting clusters do not agree, it is what the oldest export says, with the ports of all. An import that has a derived
 * Service is answered with the address of that. `cluster.svc.ns.svc` never gives records: the KEP reserves it, so that nobody
 * picks a cluster by a name.
 */
import type { Backend } from '../../model/backend.ts'
import type { ClusterService, GlobalService, ServicePort } from '../../model/service.ts'
import { addressesOf, endpointLabel } from './address-index.ts'
import { apex, host, nameServer, portsOf, version } from './cluster.ts'
import { type Ask, type Finding, nodata, nxdomain } from './lookup.ts'
import { headlessRecords, virtualRecords } from './service-records.ts'
import type { View } from './view.ts'

export interface ClustersetZone {
  readonly origin: string
  readonly addresses: readonly string[]
}

export function findInClusterset(ask: Ask, zone: ClustersetZone, view: View): Finding {
  const [last, ...before] = ask.labels.toReversed()
  if (last === undefined) return apex(ask, zone)
  if (last === 'dns') return nameServer(ask, zone, before)
  if (last === 'dns-version') return before.length > 0 ? nxdomain : version(ask, '1.0.0')
  if (last !== 'svc') return nxdomain
  const [namespace, name, ...below] = before
  if (namespace === undefined) return nodata
  if (name === undefined) return view.hasNamespace(namespace) ? nodata : nxdomain

  const service = standing(view, namespace, name)
  const shared = service ? sharedBy(service) : []
  if (!service || shared.length === 0 || below.length > 2) return nxdomain
  const origin = `${name}.${namespace}.svc.${zone.origin}`
  const form = service.clusterset ?? service.local ?? shared[0]
  return form?.headless
    ? headless(ask, view, service, shared, origin, below)
    : virtual(ask, service, form?.ports ?? [], origin, below)
}

/** The service that has the clusterset's address: the one derived for it, where there is one, or itself. */
function standing(view: View, namespace: string, name: string): GlobalService | undefined {
  const service = view.service(namespace, name)
  const derived = service?.local?.derived
  const stands = derived === undefined ? undefined : view.service(namespace, derived)
  return stands?.local ? stands : service
}

/** The declarations that are shared: remote ones take part only if they are, ours says so in its settings or imports. */
export function sharedBy(service: GlobalService): readonly ClusterService[] {
  return service.members.filter(
    member =>
      member.type !== 'ExternalName' &&
      (member !== service.local || member.imported || (service.settings.global && service.settings.shared)),
  )
}

function virtual(
  ask: Ask,
  service: GlobalService,
  ports: readonly ServicePort[],
  origin: string,
  below: readonly string[],
): Finding {
  // Without a frontend of our own there is no address that would lead anywhere.
  if (addressesOf(service).length === 0) return nxdomain
  return virtualRecords(ask, service, ports, origin, below) ?? nxdomain
}

function headless(
  ask: Ask,
  view: View,
  service: GlobalService,
  shared: readonly ClusterService[],
  origin: string,
  below: readonly string[],
): Finding {
  const clusters = new Set(shared.map(member => member.cluster))
  const ready = view.ready(service).filter(backend => clusters.has(backend.cluster))
  if (ready.length === 0) return nxdomain
  const nameOf = (backend: Backend) => `${endpointLabel(backend)}.${backend.cluster}.${origin}`
  const found = headlessRecords(ask, ready, nameOf, below)
  if (found) return found
  const [cluster, ...hosts] = below
  const there = ready.filter(backend => backend.cluster === cluster)
  if (there.length === 0) return nxdomain
  return hosts.length === 0 ? nodata : host(ask, there, hosts, portsOf)
}
