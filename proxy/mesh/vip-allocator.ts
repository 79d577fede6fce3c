/** Allocates virtual addresses from a range, one per service. */
import type { Cidr } from '../model/address.ts'
import type { Problem } from '../model/error.ts'
import type { ServiceKey } from '../model/service.ts'

/**
 * The address is a hash of the service's name, or the next free one if that is taken: after a restart most services have the
 * same address again, and cached DNS answers stay valid.
 */
export class VipAllocator {
  readonly range: Cidr
  #byService = new Map<ServiceKey, string>()
  #taken = new Set<number>()
  #indexes = new Map<ServiceKey, number>()
  /** Services that asked for an address when the range was full. */
  #refused = new Set<ServiceKey>()

  constructor(range: Cidr) {
    this.range = range
  }

  /** The service's address, a new one if it has none; undefined when the range is full. */
  allocate(key: ServiceKey): string | undefined {
    const held = this.#byService.get(key)
    if (held !== undefined) return held
    const size = this.#size
    if (this.#taken.size >= size) {
      this.#refused.add(key)
      return undefined
    }
    this.#refused.delete(key)
    let index = hash(key) % size
    while (this.#taken.has(index)) index = (index + 1) % size
    const address = this.range.at(index + (this.#skipsEnds ? 1 : 0))
    this.#taken.add(index)
    this.#indexes.set(key, index)
    this.#byService.set(key, address)
    return address
  }

  release(key: ServiceKey): void {
    this.#refused.delete(key)
    const index = this.#indexes.get(key)
    if (index === undefined) return
    this.#taken.delete(index)
    this.#indexes.delete(key)
    this.#byService.delete(key)
  }

  problems(): Problem[] {
    return [...this.#refused].map(key => ({
      code: 'VIP_RANGE',
      where: key,
      message: `no virtual address is left in ${this.range.text}; configure a larger proxy.vips.cidr`,
    }))
  }

  /** The first and last address of an IPv4 range are the network's and the broadcast address. */
  get #skipsEnds(): boolean {
    return this.range.family === 4 && this.range.bits < 31
  }

  get #size(): number {
    return Math.min(this.range.size - (this.#skipsEnds ? 2 : 0), 2 ** 31)
  }
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value >>> 0
}
