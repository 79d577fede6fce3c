/**
 * `clusterset.local`: the services that the clusters share (KEP-1645 and its DNS specification 1.0.0).
 *
 *     svc.ns.svc                the virtual address, or the endpoints of every cluster that shares a headless service
 *     host.cluster.svc.ns.svc   one endpoint of a headless service, in the cluster of that name
 *     _port._proto.svc.ns.svc   SRV
 *
 * A service is in the zone when any cluster declares it global and shared, as a ServiceExport does, or the local cluster
 * imports it. Where the exporting clusters disagree the oldest export counts, with the ports of all. Its address is that of the
 * derived Service, else of the import, else of the service itself. An import that another implementation of the API keeps in the
 * local cluster is answered as it is found, also beside a local Service of its name; of each cluster that Starlane knows
 * itself, only what Starlane knows is used. `cluster.svc.ns.svc` never has records: the KEP reserves it,
 * so that no client selects a cluster by name.
 */
import { dialledPorts, type GlobalService, type ServicePort } from '../../model/service.ts'
import { apex, hostRecords, nameServer, portsOf, version } from './cluster.ts'
import { type Lookup, nodata, nxdomain, type ZoneQuestion } from './lookup.ts'
import { addressesOf, eachNamed, endpointLabel, headlessRecords, virtualRecords } from './service-records.ts'
import { importedEndpoints, importOf, portsOfEndpoint, type SharedEndpoint, sharedBy } from './shared.ts'
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

  const service = view.service(namespace, name)
  if (!service) return nxdomain
  const origin = `${name}.${namespace}.svc.${zone.origin}`
  const addressed = withAddress(view, service)
  const shared = sharedBy(addressed)
  const declaration = addressed.clusterset ?? (shared.length > 0 ? (addressed.local ?? shared[0]) : importOf(service))
  if (!declaration) return nxdomain
  if (declaration.headless) return headless(asked, endpointsOf(service, addressed, view), origin, below)
  const { addresses, ports } = virtualAddress(service, addressed, declaration.ports)
  // Without a local frontend no address would lead anywhere.
  return addresses.length === 0 ? nxdomain : (virtualRecords(asked, addresses, ports, origin, below) ?? nxdomain)
}

/** The service with the clusterset address: the derived Service where there is one, else the service itself. */
function withAddress(view: View, service: GlobalService): GlobalService {
  const derived = service.local?.derived
  const derivedService = derived === undefined ? undefined : view.service(service.namespace, derived)
  return derivedService?.local ? derivedService : service
}

interface VirtualAddress {
  readonly addresses: readonly string[]
  readonly ports: readonly ServicePort[]
}

/** Of the derived Service; of an import that another implementation serves; of the service; of the import's endpoints. */
function virtualAddress(
  service: GlobalService,
  addressed: GlobalService,
  ports: readonly ServicePort[],
): VirtualAddress {
  const found = importOf(service)
  const own = { addresses: addressesOf(addressed), ports: dialledPorts(addressed.frontends, ports) }
  if (!found || addressed !== service) return own
  const isServedHere = service.local?.imported === true && service.frontends.length > 0
  if (found.ips.length > 0 && !isServedHere) return { addresses: found.ips, ports: found.ports }
  if (own.addresses.length > 0 && sharedBy(service).length > 0) return own
  // Without `spec.ips`, as Submariner writes it by default, an endpoint is the service in one cluster.
  return { addresses: [...new Set(importedEndpoints(service).map(({ address }) => address))], ports: found.ports }
}

/** The ready endpoints of the clusters that share the service, and those of the import in other clusters. */
function endpointsOf(service: GlobalService, addressed: GlobalService, view: View): readonly SharedEndpoint[] {
  const clusters = new Set(sharedBy(addressed).map(member => member.cluster))
  const own = view.ready(addressed).filter(backend => clusters.has(backend.cluster))
  const found = importedEndpoints(service)
  if (found.length === 0) return own
  // Another implementation may have other names for the clusters.
  const known = new Set(own.map(({ address }) => address))
  return [...own, ...found.filter(({ address }) => !known.has(address)).flatMap(portsOfEndpoint)]
}

function headless(
  asked: ZoneQuestion,
  ready: readonly SharedEndpoint[],
  origin: string,
  below: readonly string[],
): Lookup {
  if (ready.length === 0) return nxdomain
  const nameOf = (endpoint: SharedEndpoint) => `${endpointLabel(endpoint)}.${endpoint.cluster}.${origin}`
  const found = headlessRecords(asked, ready, nameOf, below)
  if (found) return found
  // The name of a cluster may have dots (KEP-2149).
  const asText = below.toReversed().join('.')
  const there = ready.filter(({ cluster }) => asText === cluster || asText.endsWith(`.${cluster}`))
  const [cluster] = there.map(each => each.cluster)
  if (cluster === undefined)
    return below.length > 0 && ready.some(each => each.cluster.endsWith(`.${asText}`)) ? nodata : nxdomain
  const hosts = below.slice(cluster.split('.').length)
  return hosts.length === 0 ? nodata : hostRecords(asked, eachNamed(there), hosts, portsOf)
}
