/** Ranges of addresses, as numbers: many of them are compared with one address. */
import { canonicalAddress, familyOf } from '../../proxy/plugin.ts'

/** An address as a number of its family. IPv4 fits a double; IPv6 needs a bigint. */
export type AddressNumber = number | bigint

export interface Range {
  /** As it was written. */
  readonly text: string
  readonly first: AddressNumber
  readonly last: AddressNumber
}

/** `10.0.0.0/8`, `fd00::/64`, or a single address. Bits beyond the prefix are ignored, as Kubernetes does. */
export function parseRange(text: unknown): Range | undefined {
  if (typeof text !== 'string') return undefined
  const [base = '', bitsText, ...rest] = text.split('/')
  const address = canonicalAddress(base)
  if (address === undefined || rest.length > 0) return undefined
  const width = familyOf(address) === 4 ? 32 : 128
  const bits = bitsText === undefined ? width : /^\d{1,3}$/.test(bitsText) ? Number(bitsText) : Number.NaN
  if (!(bits <= width)) return undefined
  const size = 1n << BigInt(width - bits)
  const number = BigInt(numberOf(address))
  const first = number - (number % size)
  const last = first + size - 1n
  return width === 32 ? { text, first: Number(first), last: Number(last) } : { text, first, last }
}

/** Takes a canonical address. */
export function numberOf(address: string): AddressNumber {
  if (familyOf(address) === 4) return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
  const [head = '', tail = ''] = address.split('::')
  const groups = (text: string) => (text === '' ? [] : text.split(':'))
  const [left, right] = [groups(head), groups(tail)]
  const middle = address.includes('::') ? Array<string>(8 - left.length - right.length).fill('0') : []
  return [...left, ...middle, ...right].reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n)
}

export function isIn({ first, last }: Range, address: AddressNumber): boolean {
  return typeof first === typeof address && first <= address && address <= last
}
