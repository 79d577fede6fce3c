/** The addresses in the answer of a reply, read once for each reply. */
import { canonicalAddress } from '../../model/address.ts'
import type { Reply } from './reply.ts'
import { spans } from './scan.ts'
import { types } from './wire.ts'

export interface Addresses {
  /** Canonical, in the order of the reply. */
  readonly list: readonly string[]
  /** The lowest TTL among the records of the answer, in seconds. */
  readonly ttlSeconds: number
}

const none: Addresses = Object.freeze({ list: Object.freeze([]), ttlSeconds: 0 })

const known = new WeakMap<Reply, Addresses>()

export function addressesOf(reply: Reply): Addresses {
  const before = known.get(reply)
  if (before) return before
  const found = read(reply)
  known.set(reply, found)
  return found
}

function read({ bytes, questionEnd }: Reply): Addresses {
  const answer = (spans(bytes, questionEnd) ?? []).filter(({ section }) => section === 'answer')
  const list = answer.flatMap(({ type, data, end }) => {
    const isV4 = type === types.A && end - data === 4
    if (!isV4 && !(type === types.AAAA && end - data === 16)) return []
    return canonicalAddress(isV4 ? [...bytes.subarray(data, end)].join('.') : groups(bytes.subarray(data, end))) ?? []
  })
  if (list.length === 0) return none
  return { list, ttlSeconds: Math.min(...answer.map(({ fixed }) => bytes.readUInt32BE(fixed + 4))) }
}

function groups(bytes: Buffer): string {
  return Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16)).join(':')
}
