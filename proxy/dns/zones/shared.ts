/**
 * What of a service is in the clusterset: the declarations that clusters share, and what the local ServiceImport of another
 * implementation of the API adds. Starlane's own knowledge of a cluster comes first.
 */
import type { Backend } from '../../model/backend.ts'
import type { ClusterService, GlobalService, ImportedEndpoint, ServiceImport } from '../../model/service.ts'

/** An endpoint of the clusterset: a backend, or an endpoint of an import. */
export type SharedEndpoint = Pick<
  Backend,
  'cluster' | 'address' | 'port' | 'protocol' | 'ports' | 'hostname' | 'otherHostnames'
>

/** The shared declarations. Remote ones are in the directory only when shared; the local one by its settings, or as an import. */
export function sharedBy(service: GlobalService): readonly ClusterService[] {
  return service.members.filter(
    member =>
      member.type !== 'ExternalName' &&
      (member !== service.local || member.imported || (service.settings.global && service.settings.shared)),
  )
}

/** The clusters whose endpoints of the service Starlane knows itself. */
export function knownClusters(service: GlobalService): ReadonlySet<string> {
  const serving = sharedBy(service).filter(({ imported }) => !imported)
  return new Set(serving.map(({ cluster }) => cluster))
}

/** The import that another implementation keeps in the local cluster. */
export function importOf(service: GlobalService): ServiceImport | undefined {
  return service.local?.serviceImport
}

/** Its ready endpoints in clusters that Starlane does not know itself. */
export function importedEndpoints(service: GlobalService): readonly ImportedEndpoint[] {
  const endpoints = importOf(service)?.endpoints ?? []
  if (endpoints.length === 0) return endpoints
  const known = knownClusters(service)
  return endpoints.filter(({ cluster, ready }) => ready && !known.has(cluster))
}

/** One for each port, as backends are; port 0 for an endpoint without ports. */
export function portsOfEndpoint({ cluster, address, hostname, ports }: ImportedEndpoint): readonly SharedEndpoint[] {
  const endpoint = { cluster, address, ...(hostname === undefined ? {} : { hostname }) }
  if (ports.length === 0) return [{ ...endpoint, port: 0, protocol: 'TCP', ports: [] }]
  return ports.map(({ name, port, protocol }) => ({ ...endpoint, port, protocol, ports: name === '' ? [] : [name] }))
}
