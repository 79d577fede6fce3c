/**
 * An LRU cache by question, bounded in entries and bytes. The key is a hash that ignores case; every hit compares the
 * question with the one in the entry's message, so that a lookup builds no string. Of two questions with the same hash the
 * later one stays; the other is computed again when it is asked.
 */
import { LRUCache } from 'lru-cache'
import { folded, type Query } from './query.ts'
import { headerBytes } from './wire.ts'

/** A value with the DNS message whose question it answers. */
export interface CacheEntry {
  readonly message: Buffer
}

export interface QuestionCacheOptions<V> {
  readonly entries: number
  readonly bytes: number
  /** Bytes to account for a value. */
  sizeOf(value: V): number
  /** A value was removed: evicted, deleted or replaced. */
  removed?(value: V, hash: number): void
}

/** Room at first: lru-cache makes it all at once, which for the most entries of a large cache takes milliseconds of a start. */
const firstEntries = 256

export class QuestionCache<V extends CacheEntry> {
  readonly #options: QuestionCacheOptions<V>
  #values: LRUCache<number, V>
  #evictions = 0

  constructor(options: QuestionCacheOptions<V>) {
    this.#options = options
    this.#values = this.#withRoom(Math.min(firstEntries, options.entries))
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

  /** The entry for name and type. */
  get(query: Query, hash: number): V | undefined {
    const value = this.getByName(query, hash)
    if (!value) return undefined
    const { bytes, nameEnd } = query
    const { message } = value
    return message[nameEnd] === bytes[nameEnd] && message[nameEnd + 1] === bytes[nameEnd + 1] ? value : undefined
  }

  /** The entry for the name, whatever its type. */
  getByName(query: Query, hash: number): V | undefined {
    const value = this.#values.get(hash)
    return value && hasName(value.message, query) ? value : undefined
  }

  /** The entry under a hash; does not count as a use. */
  peek(hash: number): V | undefined {
    return this.#values.peek(hash)
  }

  set(hash: number, value: V): void {
    const { size, max } = this.#values
    if (size === max && max < this.#options.entries) this.#grow()
    this.#values.set(hash, value)
  }

  delete(hash: number): void {
    this.#values.delete(hash)
  }

  /** To all the room it may have, once. The order of use stays. */
  #grow(): void {
    const before = this.#values
    this.#values = this.#withRoom(this.#options.entries)
    for (const hash of before.rkeys()) {
      const value = before.peek(hash)
      if (value) this.#values.set(hash, value)
    }
  }

  #withRoom(entries: number): LRUCache<number, V> {
    const { bytes, sizeOf, removed } = this.#options
    return new LRUCache({
      max: entries,
      maxSize: bytes,
      sizeCalculation: sizeOf,
      dispose: (value, hash, reason) => {
        if (reason === 'evict') this.#evictions++
        removed?.(value, hash)
      },
    })
  }
}

/** The key of a question; `variant` separates queries that differ beyond name and type. */
export function questionHash(query: Query, variant = 0): number {
  return Math.imul(query.nameHash ^ query.type ^ (variant << 16), 0x01000193) | 0
}

/** The key under which a name is kept as missing, for every type. */
export function missingNameHash(query: Query, variant = 0): number {
  return Math.imul(query.nameHash ^ (variant << 16) ^ 0x5bd1e995, 0x01000193) | 0
}

/** Comparing up to the root label is enough: no name is a prefix of another. */
function hasName(message: Buffer, { bytes, nameEnd }: Query): boolean {
  for (let at = headerBytes; at < nameEnd; at++) {
    const mine = message[at] as number
    const theirs = bytes[at] as number
    if (mine !== theirs && folded(mine) !== folded(theirs)) return false
  }
  return true
}
