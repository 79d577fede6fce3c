import { type Backends, type Cluster, type GlobalService, keep, type ServicePattern } from '../../proxy/plugin.ts'
import type { Tenant } from './clients.ts'

/** How far one tenant reaches into one service. Worked out once, when the service has changed. */
export class Reach {
  /** Whether any cluster that has the service is open to the tenant. */
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

  /** The same list for the same list, so that later steps can go by its identity. */
  within(backends: Backends): Backends {
    const known = this.#left.get(backends)
    if (known !== undefined) return known
    const left = keep(backends, ({ cluster }) => this.#clusters.has(cluster))
    this.#left.set(backends, left)
    return left
  }
}

/**
 * A tenant reaches its own clusters, and of the hub what the hub shares. The hub itself reaches all that got here: of a remote
 * cluster only what that cluster shares does. Another tenant's cluster is never open, shared or not.
 */
function isOpen(tenant: Tenant, service: GlobalService, cluster: Cluster, shared: readonly ServicePattern[]): boolean {
  if (tenant === undefined || cluster.tenant === tenant) return true
  if (cluster.tenant !== undefined) return false
  const exported = !cluster.local || (service.settings.global && service.settings.shared)
  return exported && shared.some(matches => matches(service))
}
