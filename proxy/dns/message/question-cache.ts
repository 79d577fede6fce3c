/**
 * Values by question, bounded in number and bytes; the longest unused goes first. Found by a hash that ignores case, with
 * the question in the value's own message compared on every hit, so that no string is made on the way and little memory
 * is touched. Of two questions with one hash the later stays: the earlier one is only worked out again.
 */
import { LRUCache } from 'lru-cache'
import { folded, type Query } from './query.ts'
import { headerBytes } from './wire.ts'

/** Has a DNS message with the question it is for, behind the header as always. */
export interface Shelved {
  readonly message: Buffer
}

export interface ShelfOptions<V> {
  readonly entries: number
  readonly bytes: number
  /** What a value takes. */
  sizeOf(value: V): number
  /** A value has gone: for want of room, by `delete`, or for a newer one. */
  gone?(value: V, slot: number): void
}

export class Shelf<V extends Shelved> {
  readonly #values: LRUCache<number, V>
  #evictions = 0

  constructor({ entries, bytes, sizeOf, gone }: ShelfOptions<V>) {
    this.#values = new LRUCache({
      max: entries,
      maxSize: bytes,
      sizeCalculation: sizeOf,
      dispose: (value, slot, reason) => {
        if (reason === 'evict') this.#evictions++
        gone?.(value, slot)
      },
    })
  }

  get size(): number {
    return this.#values.size
  }

  get bytes(): number {
    return this.#values.calculatedSize
  }

  get evictions(): number {
    return this.#evictions
  }

  /** By name and type. */
  get(query: Query, slot: number): V | undefined {
    const value = this.getNamed(query, slot)
    if (!value) return undefined
    const { bytes, nameEnd } = query
    const { message } = value
    return message[nameEnd] === bytes[nameEnd] && message[nameEnd + 1] === bytes[nameEnd + 1] ? value : undefined
  }

  /** By name, whatever the type. */
  getNamed(query: Query, slot: number): V | undefined {
    const value = this.#values.get(slot)
    return value && hasName(value.message, query) ? value : undefined
  }

  /** Whatever stands there; a look that keeps nothing alive. */
  peek(slot: number): V | undefined {
    return this.#values.peek(slot)
  }

  set(slot: number, value: V): void {
    this.#values.set(slot, value)
  }

  delete(slot: number): void {
    this.#values.delete(slot)
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

/** The root label ends a name, so that of two names none is the beginning of the other. */
function hasName(message: Buffer, { bytes, nameEnd }: Query): boolean {
  for (let at = headerBytes; at < nameEnd; at++) {
    const mine = message[at] as number
    const theirs = bytes[at] as number
    if (mine !== theirs && folded(mine) !== folded(theirs)) return false
  }
  return true
}
