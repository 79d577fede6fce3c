/** The services of a cluster by the addresses of their endpoints. */
import type { ClusterService, ServiceKey } from '../model/service.ts'

export class AddressIndex {
  /** Most addresses belong to one service, and need no set. */
  #keys = new Map<string, ServiceKey | Set<ServiceKey>>()

  add(key: ServiceKey, { endpoints }: ClusterService): void {
    for (const { address } of endpoints) {
      const known = this.#keys.get(address)
      if (known === undefined) this.#keys.set(address, key)
      else if (typeof known !== 'string') known.add(key)
      else if (known !== key) this.#keys.set(address, new Set([known, key]))
    }
  }

  delete(key: ServiceKey, { endpoints }: ClusterService): void {
    for (const { address } of endpoints) {
      const known = this.#keys.get(address)
      if (known === key) this.#keys.delete(address)
      else if (known !== undefined && typeof known !== 'string') {
        known.delete(key)
        if (known.size === 0) this.#keys.delete(address)
      }
    }
  }

  clear(): void {
    this.#keys.clear()
  }

  servicesAt(address: string): Iterable<ServiceKey> {
    const known = this.#keys.get(address)
    return known === undefined ? [] : typeof known === 'string' ? [known] : known
  }
}
