/** Keeps tenants apart: each reaches its own clusters and the shared services of the hub, in DNS and in the proxy. */
import { type Cluster, cidr, definePlugin, type GlobalService, list, optional, record } from '../../proxy/plugin.ts'
import { Clients, type Tenant } from './clients.ts'
import { pattern } from './pattern.ts'
import { Reach } from './reach.ts'

export default definePlugin({
  name: 'tenancy',
  options: {
    tenants: optional(
      record(
        "The CIDRs of each tenant's clients; the narrowest match wins. Other clients belong to the tenant of the local cluster.",
        list('ranges', cidr('range')),
      ),
    ),
    shared: list('The services of clusters without a tenant that tenants may use.', pattern('services'), ['*/*']),
  },
  onError: 'refuse',
  create: ({ tenants, shared }, host) => {
    const clients = new Clients(tenants ?? {}, host)
    let clusters: readonly Cluster[] = []
    let reaches = new WeakMap<GlobalService, Map<Tenant, Reach>>()

    const reachOf = (tenant: Tenant, service: GlobalService): Reach => {
      if (clusters !== host.clusters) {
        clusters = host.clusters
        reaches = new WeakMap()
      }
      let byTenant = reaches.get(service)
      if (byTenant === undefined) {
        byTenant = new Map()
        reaches.set(service, byTenant)
      }
      let reach = byTenant.get(tenant)
      if (reach === undefined) {
        reach = new Reach(tenant, service, clusters, shared)
        byTenant.set(tenant, reach)
      }
      return reach
    }
    return {
      admit: (client, service) => {
        const tenant = clients.tenantOf(client)
        if (tenant === undefined || reachOf(tenant, service).admitted) return undefined
        return { code: 'tenancy', why: `tenant ${tenant} may not use ${service.key}` }
      },
      candidates: ({ client, service }, backends) => {
        const tenant = clients.tenantOf(client)
        return tenant === undefined ? backends : reachOf(tenant, service).within(backends)
      },
      why: ({ client }, { cluster }) => {
        const owner = host.clusters.find(({ name }) => name === cluster)?.tenant
        const whose = owner === undefined ? 'does not share the service' : `belongs to tenant ${owner}`
        return `${cluster} ${whose}, and the client belongs to tenant ${clients.tenantOf(client)}`
      },
      state: () => ({
        local: host.cluster.tenant ?? null,
        clusters: Object.fromEntries(host.clusters.map(({ name, tenant }) => [name, tenant ?? null])),
      }),
    }
  },
})
