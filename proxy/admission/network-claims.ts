/** Who names which address, in one network: an index over the clusters that are in it. */
import type { Cidr } from '../model/address.ts'
import { MultiMap } from '../model/lists/multi-map.ts'
import { RangeTable } from './range-table.ts'

/** `C` is a cluster. */
export class NetworkClaims<C extends object> {
  /** The clusters that list an address. */
  readonly #listed = new MultiMap<C>()
  /** The listed addresses by their first 24 bits, or 64 of IPv6. */
  readonly #blocks = new MultiMap<string>()
  /** The ranges that clusters say are theirs. */
  readonly #ranges = new RangeTable<C>()

  /** True if other clusters name the address too. */
  list(address: string, cluster: C): boolean {
    if (this.#listed.add(address, cluster)) this.#blocks.add(blockOf(address), address)
    return this.#isShared(address, cluster)
  }

  /** True if other clusters list the address. */
  unlist(address: string, cluster: C): boolean {
    if (!this.#listed.delete(address, cluster)) return this.#listed.has(address)
    this.#blocks.delete(blockOf(address), address)
    return false
  }

  addRange(range: Cidr, cluster: C): void {
    this.#ranges.add(range, cluster)
  }

  deleteRange(range: Cidr, cluster: C): void {
    this.#ranges.delete(range, cluster)
  }

  hasRange(address: string, cluster: C): boolean {
    return this.#ranges.has(address, cluster)
  }

  /** The other clusters that list an address or have it in a range. Usually none, and then nothing is allocated. */
  others(address: string, cluster: C): readonly C[] {
    if (!this.#isShared(address, cluster)) return nobody as readonly C[]
    const all = new Set<C>(this.#listed.get(address))
    for (const owner of this.#ranges.at(address)) all.add(owner)
    all.delete(cluster)
    return [...all]
  }

  /** The clusters that list an address. */
  listing(address: string): readonly C[] {
    return this.#listed.get(address)
  }

  /** The listed addresses in a range. */
  within(range: Cidr): string[] {
    if (range.bits >= (range.family === 4 ? 24 : 64)) {
      return this.#blocks.get(blockOf(range.at(0))).filter(address => range.contains(address))
    }
    return [...this.#blocks.names()].flatMap(block => {
      const first = this.#blocks.first(block)
      return first !== undefined && range.contains(first) ? this.#blocks.get(block) : []
    })
  }

  #isShared(address: string, cluster: C): boolean {
    return this.#listed.hasOther(address, cluster) || this.#ranges.hasOther(address, cluster)
  }
}

const nobody: readonly never[] = []

function blockOf(address: string): string {
  if (!address.includes(':')) return address.slice(0, address.lastIndexOf('.'))
  const [head = '', tail] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? [] : Array<string>(8 - groups.length - after.length).fill('0')
  return [...groups, ...zeros, ...after].slice(0, 4).join(':')
}
