/**
 * Values by question, bounded in number and bytes; the longest unused goes first. Found by a hash that ignores case,
 * with the question compared on every hit, so that no string is made on the way. Of two questions with one hash the
 * later stays: that costs the earlier one a second look-up and nothing else.
 */
import { LRUCache } from 'lru-cache'
import { folded, type Query } from './query.ts'
import { headerBytes } from './wire.ts'

interface Entry<V> {
  /** Name, type and class as first asked, or the name alone. */
  readonly question: Buffer
  readonly value: V
}

export interface ShelfOptions<V> {
  readonly entries: number
  readonly bytes: number
  /** What a value takes. */
  sizeOf(value: V): number
  /** A value has gone: for want of room, by `delete`, or for a newer one. */
  gone?(value: V, slot: number): void
}

export class Shelf<V extends {}> {
  readonly #entries: LRUCache<number, Entry<V>>
  #evictions = 0

  constructor({ entries, bytes, sizeOf, gone }: ShelfOptions<V>) {
    this.#entries = new LRUCache({
      max: entries,
      maxSize: bytes,
      sizeCalculation: ({ question, value }) => question.length + sizeOf(value),
      dispose: ({ value }, slot, reason) => {
        if (reason === 'evict') this.#evictions++
        gone?.(value, slot)
      },
    })
  }

  get size(): number {
    return this.#entries.size
  }

  get bytes(): number {
    return this.#entries.calculatedSize
  }

  get(query: Query, slot: number, length = query.end): V | undefined {
    const entry = this.#entries.get(slot)
    return entry && isSame(entry.question, query, length) ? entry.value : undefined
  }

  set(query: Query, slot: number, value: V, length = query.end): void {
    this.#entries.set(slot, { question: Buffer.from(query.bytes.subarray(headerBytes, length)), value })
  }

  delete(slot: number): void {
    this.#entries.delete(slot)
  }

  get evictions(): number {
    return this.#evictions
  }
}

/** The place of a question; `variant` tells apart what differs beyond name and type. */
export function slotOf(query: Query, variant = 0): number {
  return Math.imul(query.nameHash ^ query.type ^ (variant << 16), 0x01000193) | 0
}

/** The place of a name, whatever the type. */
export function nameSlotOf(query: Query, variant = 0): number {
  return Math.imul(query.nameHash ^ (variant << 16) ^ 0x5bd1e995, 0x01000193) | 0
}

function isSame(question: Buffer, query: Query, length: number): boolean {
  if (question.length !== length - headerBytes) return false
  const { bytes, nameEnd } = query
  for (let at = headerBytes; at < length; at++) {
    const mine = question[at - headerBytes] as number
    const theirs = bytes[at] as number
    if (mine !== theirs && (at >= nameEnd || folded(mine) !== folded(theirs))) return false
  }
  return true
}
