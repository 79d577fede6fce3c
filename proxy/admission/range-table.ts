/** Ranges of addresses with a value for each, found by an address that is in them. */
import ipaddr from 'ipaddr.js'
import type { Cidr } from '../model/address.ts'

/** A lookup costs one step for each different prefix length, however many ranges there are. */
export class RangeTable<T> {
  /** By prefix length, IPv6 as 33 to 161, the values by the masked address. */
  #lengths = new Map<number, Map<string | number, Set<T>>>()

  get isEmpty(): boolean {
    return this.#lengths.size === 0
  }

  add(range: Cidr, value: T): void {
    const length = lengthOf(range)
    const byBase = this.#lengths.get(length) ?? new Map<string | number, Set<T>>()
    this.#lengths.set(length, byBase)
    const base = baseOf(range.at(0), range.bits)
    const values = byBase.get(base)
    if (values) values.add(value)
    else byBase.set(base, new Set([value]))
  }

  delete(range: Cidr, value: T): void {
    const length = lengthOf(range)
    const byBase = this.#lengths.get(length)
    const base = baseOf(range.at(0), range.bits)
    const values = byBase?.get(base)
    if (!byBase || !values?.delete(value)) return
    if (values.size === 0) byBase.delete(base)
    if (byBase.size === 0) this.#lengths.delete(length)
  }

  /** Whether a range with this value contains a canonical address. */
  has(address: string, value: T): boolean {
    return this.#some(address, values => values.has(value))
  }

  /** The values of the ranges that contain a canonical address, each once. */
  at(address: string): T[] {
    const found = new Set<T>()
    this.#some(address, values => {
      for (const value of values) found.add(value)
      return false
    })
    return [...found]
  }

  /** Whether a range with another value contains a canonical address. */
  hasOther(address: string, value: T): boolean {
    return this.#some(address, values => values.size > 1 || !values.has(value))
  }

  /** Whether any range contains a canonical address. */
  contains(address: string): boolean {
    return this.#some(address, () => true)
  }

  #some(address: string, test: (values: ReadonlySet<T>) => boolean): boolean {
    if (this.isEmpty) return false
    const is6 = address.includes(':')
    const parsed = is6 ? ipaddr.IPv6.parse(address).parts : numberOf(address)
    for (const [length, byBase] of this.#lengths) {
      if (length > 32 !== is6) continue
      const base = typeof parsed === 'number' ? masked(parsed, length) : maskedGroups(parsed, length - 33)
      const values = byBase.get(base)
      if (values && test(values)) return true
    }
    return false
  }
}

function lengthOf({ family, bits }: Cidr): number {
  return family === 4 ? bits : 33 + bits
}

function baseOf(address: string, bits: number): string | number {
  return address.includes(':') ? maskedGroups(ipaddr.IPv6.parse(address).parts, bits) : masked(numberOf(address), bits)
}

/** Of a canonical IPv4 address. */
function numberOf(address: string): number {
  let value = 0
  let octet = 0
  for (let i = 0; i < address.length; i++) {
    const code = address.charCodeAt(i)
    if (code === 46) {
      value = value * 256 + octet
      octet = 0
    } else octet = octet * 10 + code - 48
  }
  return value * 256 + octet
}

function masked(address: number, bits: number): number {
  return bits === 0 ? 0 : (address & (-1 << (32 - bits))) >>> 0
}

function maskedGroups(groups: readonly number[], bits: number): string {
  let text = ''
  for (let i = 0; i < 8 && i * 16 < bits; i++) {
    const kept = Math.min(16, bits - i * 16)
    text += `${(groups[i] ?? 0) & (0xffff << (16 - kept)) & 0xffff}:`
  }
  return text
}
