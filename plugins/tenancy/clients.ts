/** Which tenant a client belongs to, by its certificate or its address. */
import type { Cidr, Client, Host, Table } from '../../proxy/plugin.ts'

/** The name of a tenant; undefined for the hub, which belongs to no tenant. */
export type Tenant = string | undefined

/** How many client addresses are cached with their tenant. */
const maxClients = 16_384

/** The narrowest range that contains an address decides; a client in none belongs to the tenant of the local cluster. */
export class Clients {
  #host: Host
  /** Narrowest first. */
  #ranges: readonly { readonly range: Cidr; readonly tenant: string }[]
  #known: Table<{ readonly tenant: string | undefined }>

  constructor(tenants: Readonly<Record<string, readonly Cidr[]>>, host: Host) {
    this.#host = host
    this.#ranges = Object.entries(tenants)
      .flatMap(([tenant, ranges]) => ranges.map(range => ({ range, tenant })))
      .sort((a, b) => b.range.bits - a.range.bits)
    this.#known = host.table('clients', { max: maxClients })
    for (const { range, tenant } of this.#ranges) {
      const other = this.#ranges.find(one => one.range.text === range.text && one.tenant !== tenant)
      if (other)
        throw new RangeError(
          `tenants: ${range.text} is given to both ${tenant} and ${other.tenant}; give it to one of them`,
        )
    }
  }

  /** A client that has come through a gateway is of the cluster that its certificate stands for; its address says nothing. */
  tenantOf({ address, identity }: Client): Tenant {
    if (identity) return this.#host.clusters.find(({ name }) => name === identity.cluster)?.tenant
    if (this.#ranges.length === 0) return this.#host.cluster.tenant
    let known = this.#known.get(address)
    if (known === undefined) {
      known = { tenant: this.#ranges.find(({ range }) => range.contains(address))?.tenant }
      this.#known.set(address, known)
    }
    return known.tenant ?? this.#host.cluster.tenant
  }
}
