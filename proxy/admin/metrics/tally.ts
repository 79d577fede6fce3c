/** Counts by key, with a bound. */

/** Counts by key; after `maxKeys` different keys, new keys count as `other`. */
export class Tally<K> extends Map<K, number> {
  readonly #maxKeys: number
  readonly #other: K

  constructor(maxKeys: number, other: K) {
    super()
    this.#maxKeys = maxKeys
    this.#other = other
  }

  add(key: K): void {
    const before = this.get(key)
    if (before !== undefined) this.set(key, before + 1)
    else if (this.size < this.#maxKeys) this.set(key, 1)
    else this.set(this.#other, (this.get(this.#other) ?? 0) + 1)
  }
}
