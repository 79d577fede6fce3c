/** Which clusters a tenant reaches for one service. */
import { type Backends, type Cluster, type GlobalService, keep, type ServicePattern } from '../../proxy/plugin.ts'
import type { Tenant } from './clients.ts'

/** Computed once per tenant and change of the service. */
export class Reach {
  /** Whether the tenant may reach any cluster that has the service. */
  readonly admitted: boolean
  #clusters: ReadonlySet<string>
  #left = new WeakMap<Backends, Backends>()

  constructor(tenant: Tenant, service: GlobalService, clusters: readonly Cluster[], shared: readonly ServicePattern[]) {
    this.#clusters = new Set(
      clusters.filter(cluster => isOpen(tenant, service, cluster, shared)).map(({ name }) => name),
    )
    const owners = [...service.members, ...service.parked].map(({ cluster }) => cluster)
    this.admitted = owners.length === 0 || owners.some(owner => this.#clusters.has(owner))
  }

  /** Memoized, so that later steps can memoize by the identity of the result. */
  within(backends: Backends): Backends {
    const known = this.#left.get(backends)
    if (known !== undefined) return known
    const isOpen = (cluster: string) => this.#clusters.has(cluster)
    const left = keep(backends, ({ cluster, alsoIn }) => isOpen(cluster) || (alsoIn?.some(isOpen) ?? false))
    this.#left.set(backends, left)
    return left
  }
}

/**
 * A tenant reaches its own clusters, and the services that the hub shares. The hub reaches everything: remote clusters only
 * send what they share. A cluster of another tenant is never open, shared or not.
 */
function isOpen(tenant: Tenant, service: GlobalService, cluster: Cluster, shared: readonly ServicePattern[]): boolean {
  if (tenant === undefined || cluster.tenant === tenant) return true
  if (cluster.tenant !== undefined) return false
  const exported = !cluster.local || (service.settings.global && service.settings.shared)
  return exported && shared.some(matches => matches(service))
}
