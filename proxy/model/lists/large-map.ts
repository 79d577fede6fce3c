/** A map by text that may hold hundreds of thousands of entries. */

/** Above it, the entries are spread. */
const most = 2048
const shards = 256

/**
 * When a Map is full, V8 copies all of it at once, which takes 50 ms for half a million entries; entries that are deleted and set again fill it
 * too. Here the copy is of a small part. Large maps have no order.
 */
export class LargeMap<V> {
  #maps: Map<string, V>[] = [new Map()]
  #size = 0

  get size(): number {
    return this.#size
  }

  get(key: string): V | undefined {
    return this.#mapOf(key).get(key)
  }

  has(key: string): boolean {
    return this.#mapOf(key).has(key)
  }

  set(key: string, value: V): void {
    if (this.#maps.length === 1 && this.#size >= most) this.#spread()
    const map = this.#mapOf(key)
    const before = map.size
    map.set(key, value)
    this.#size += map.size - before
  }

  delete(key: string): boolean {
    if (!this.#mapOf(key).delete(key)) return false
    this.#size--
    return true
  }

  *keys(): Generator<string> {
    for (const map of this.#maps) yield* map.keys()
  }

  *values(): Generator<V> {
    for (const map of this.#maps) yield* map.values()
  }

  #mapOf(key: string): Map<string, V> {
    return this.#maps[this.#maps.length === 1 ? 0 : hash(key) % shards] as Map<string, V>
  }

  #spread(): void {
    const [all = new Map<string, V>()] = this.#maps
    this.#maps = Array.from({ length: shards }, () => new Map())
    for (const [key, value] of all) this.#mapOf(key).set(key, value)
  }
}

/** FNV-1a, 32 bits, its upper half mixed in: addresses of one network differ in a few characters. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return (value ^ (value >>> 15)) >>> 0
}
