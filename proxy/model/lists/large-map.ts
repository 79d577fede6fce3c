/** A map by text that may hold hundreds of thousands of entries, which come and go. */
import { randomInt } from 'node:crypto'
import { TextTable } from './text-table.ts'

/** Up to so many are in a Map, which is the fastest then. */
const few = 1024
const parts = 256

/**
 * When a Map is full, V8 copies all of it at once, which takes 50 ms for half a million entries, and entries that are deleted and set again
 * fill it too. Here the copy is of a small part, and what comes and goes needs none. Has no order. Whoever iterates over it sees each part as it
 * was when its turn came.
 */
export class LargeMap<V> {
  #few: Map<string, V> | undefined = new Map()
  #parts: TextTable<V>[] = []
  #size = 0

  get size(): number {
    return this.#few?.size ?? this.#size
  }

  get(key: string): V | undefined {
    if (this.#few) return this.#few.get(key)
    const hash = hashOf(key)
    return this.#partOf(hash).get(key, hash)
  }

  has(key: string): boolean {
    if (this.#few) return this.#few.has(key)
    const hash = hashOf(key)
    return this.#partOf(hash).has(key, hash)
  }

  set(key: string, value: V): void {
    if (this.#few) {
      this.#few.set(key, value)
      if (this.#few.size > few) this.#spread(this.#few)
      return
    }
    const hash = hashOf(key)
    const part = this.#partOf(hash)
    this.#size -= part.size
    part.set(key, hash, value)
    this.#size += part.size
  }

  delete(key: string): boolean {
    if (this.#few) return this.#few.delete(key)
    const hash = hashOf(key)
    if (!this.#partOf(hash).delete(key, hash)) return false
    this.#size--
    return true
  }

  *keys(): Generator<string> {
    for (const [key] of this.#entries()) yield key
  }

  *values(): Generator<V> {
    for (const [, value] of this.#entries()) yield value
  }

  *#entries(): Generator<[string, V]> {
    if (this.#few) yield* this.#few
    else for (const part of this.#parts) yield* part.entries()
  }

  #partOf(hash: number): TextTable<V> {
    return this.#parts[hash % parts] as TextTable<V>
  }

  #spread(all: Map<string, V>): void {
    this.#few = undefined
    this.#parts = Array.from({ length: parts }, () => new TextTable())
    for (const [key, value] of all) this.set(key, value)
  }
}

/** So that who chooses the keys does not choose their places. */
const seed = randomInt(2 ** 32)

/** FNV-1a, 32 bits, mixed: addresses of one network differ in a few characters. Never 0. */
function hashOf(text: string): number {
  let value = seed
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  value = Math.imul(value ^ (value >>> 15), 0x85ebca6b)
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35)
  return (value ^ (value >>> 16)) >>> 0 || 1
}
