/** The services of a cluster by the addresses of their endpoints. */
import { LargeMap } from '../model/lists/large-map.ts'
import type { ServiceKey } from '../model/service.ts'

export class AddressIndex {
  /** Most addresses belong to one service, and need no set. */
  #keys = new LargeMap<ServiceKey | Set<ServiceKey>>()

  /** Addresses. */
  get size(): number {
    return this.#keys.size
  }

  /** True if the address is new. */
  add(address: string, key: ServiceKey): boolean {
    const known = this.#keys.get(address)
    if (known === undefined) this.#keys.set(address, key)
    else if (typeof known !== 'string') known.add(key)
    else if (known !== key) this.#keys.set(address, new Set([known, key]))
    return known === undefined
  }

  /** True if no service has the address any more. */
  delete(address: string, key: ServiceKey): boolean {
    const known = this.#keys.get(address)
    if (known === undefined || typeof known === 'string') return known === key && this.#keys.delete(address)
    known.delete(key)
    return known.size === 0 && this.#keys.delete(address)
  }

  has(address: string): boolean {
    return this.#keys.has(address)
  }

  addresses(): Iterable<string> {
    return this.#keys.keys()
  }

  servicesAt(address: string): Iterable<ServiceKey> {
    const known = this.#keys.get(address)
    return known === undefined ? [] : typeof known === 'string' ? [known] : known
  }
}
