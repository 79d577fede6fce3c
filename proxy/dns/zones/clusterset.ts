/**
 * `clusterset.local`: the services that the clusters share (KEP-1645 and its DNS specification 1.0.0).
 *
 *     svc.ns.svc                the virtual address, or the endpoints of every cluster that shares a headless service
 *     host.cluster.svc.ns.svc   one endpoint of a headless service, in the cluster of that name
 *     _port._proto.svc.ns.svc   SRV
 *
 * A service is in the zone when any cluster declares it global and shared, as a ServiceExport does, or the local cluster
 * imports it. Where the exporting clusters disagree the oldest export counts, with the ports of all. An import with a
 * derived Service is answered with the address of that Service. `cluster.svc.ns.svc` never has records: the KEP reserves it,
 * so that no client selects a cluster by name.
 */
import type { Backend } from '../../model/backend.ts'
import type { ClusterService, GlobalService, ServicePort } from '../../model/service.ts'
import { apex, hostRecords, nameServer, portsOf, version } from './cluster.ts'
import { type Lookup, nodata, nxdomain, type ZoneQuestion } from './lookup.ts'
import { addressesOf, eachNamed, endpointLabel, headlessRecords, virtualRecords } from './service-records.ts'
import type { View } from './view.ts'

export interface ClustersetZone {
  readonly origin: string
  readonly addresses: readonly string[]
}

export function findInClusterset(asked: ZoneQuestion, zone: ClustersetZone, view: View): Lookup {
  const [last, ...before] = asked.labels.toReversed()
  if (last === undefined) return apex(asked, zone)
  if (last === 'dns') return nameServer(asked, zone, before)
  if (last === 'dns-version') return before.length > 0 ? nxdomain : version(asked, '1.0.0')
  if (last !== 'svc') return nxdomain
  const [namespace, name, ...below] = before
  if (namespace === undefined) return nodata
  if (name === undefined) return view.hasNamespace(namespace) ? nodata : nxdomain

  const service = withAddress(view, namespace, name)
  const shared = service ? sharedBy(service) : []
  if (!service || shared.length === 0 || below.length > 2) return nxdomain
  const origin = `${name}.${namespace}.svc.${zone.origin}`
  const declaration = service.clusterset ?? service.local ?? shared[0]
  return declaration?.headless
    ? headless(asked, view, service, shared, origin, below)
    : virtual(asked, service, declaration?.ports ?? [], origin, below)
}

/** The service with the clusterset address: the derived Service where there is one, else the service itself. */
function withAddress(view: View, namespace: string, name: string): GlobalService | undefined {
  const service = view.service(namespace, name)
  const derived = service?.local?.derived
  const derivedService = derived === undefined ? undefined : view.service(namespace, derived)
  return derivedService?.local ? derivedService : service
}

/** The shared declarations. Remote ones are in the directory only when shared; the local one by its settings, or as an import. */
export function sharedBy(service: GlobalService): readonly ClusterService[] {
  return service.members.filter(
    member =>
      member.type !== 'ExternalName' &&
      (member !== service.local || member.imported || (service.settings.global && service.settings.shared)),
  )
}

function virtual(
  asked: ZoneQuestion,
  service: GlobalService,
  ports: readonly ServicePort[],
  origin: string,
  below: readonly string[],
): Lookup {
  // Without a local frontend no address would lead anywhere.
  if (addressesOf(service).length === 0) return nxdomain
  return virtualRecords(asked, service, ports, origin, below) ?? nxdomain
}

function headless(
  asked: ZoneQuestion,
  view: View,
  service: GlobalService,
  shared: readonly ClusterService[],
  origin: string,
  below: readonly string[],
): Lookup {
  const clusters = new Set(shared.map(member => member.cluster))
  const ready = view.ready(service).filter(backend => clusters.has(backend.cluster))
  if (ready.length === 0) return nxdomain
  const nameOf = (backend: Backend) => `${endpointLabel(backend)}.${backend.cluster}.${origin}`
  const found = headlessRecords(asked, ready, nameOf, below)
  if (found) return found
  const [cluster, ...hosts] = below
  const there = ready.filter(backend => backend.cluster === cluster)
  if (there.length === 0) return nxdomain
  return hosts.length === 0 ? nodata : hostRecords(asked, eachNamed(there), hosts, portsOf)
}
