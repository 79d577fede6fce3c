import type { Cidr } from '../model/address.ts'
import type { ServiceKey } from '../model/service.ts'

/**
 * Virtual addresses out of one range, one per service. The address follows from the service's name as long as nobody else
 * holds it, so that a restart gives most services the address they had, and caches of DNS answers stay right.
 */
export class Vips {
  readonly range: Cidr
  #byService = new Map<ServiceKey, string>()
  #taken = new Set<number>()
  #indexes = new Map<ServiceKey, number>()

  constructor(range: Cidr) {
    this.range = range
  }

  /** The service's address, a free one if it has none yet; undefined when the range is full. */
  take(key: ServiceKey): string | undefined {
    const held = this.#byService.get(key)
    if (held !== undefined) return held
    const room = this.#room
    if (this.#taken.size >= room) return undefined
    let index = hash(key) % room
    while (this.#taken.has(index)) index = (index + 1) % room
    const address = this.range.at(index + (this.#skipsEnds ? 1 : 0))
    this.#taken.add(index)
    this.#indexes.set(key, index)
    this.#byService.set(key, address)
    return address
  }

  release(key: ServiceKey): void {
    const index = this.#indexes.get(key)
    if (index === undefined) return
    this.#taken.delete(index)
    this.#indexes.delete(key)
    this.#byService.delete(key)
  }

  /** The first and the last address of an IPv4 range name the network and its broadcast. */
  get #skipsEnds(): boolean {
    return this.range.family === 4 && this.range.bits < 31
  }

  get #room(): number {
    return Math.min(this.range.size - (this.#skipsEnds ? 2 : 0), 2 ** 31)
  }
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value >>> 0
}
