/**
 * One part of a {@link LargeMap}: a hash table by text, with linear probing. Deleting closes the gap, so that entries which come and go take
 * no room that has to be cleared; a Map keeps up to three places free or deleted for each entry then, and this one about half of one.
 */

/** Full enough to grow, and empty enough to shrink. */
const fill = { most: 0.85, least: 0.4 }
/** What it grows or shrinks to: by half, so that copies are rare. While V8 marks old objects, a copy costs marking by its size. */
const usualFill = 0.57
const smallest = 16

/** Hashes are whole numbers of 32 bits, never 0; the place in the table comes from their upper bits. */
export class TextTable<V> {
  /** By place; 0 is free. Other keys are passed over by these alone. */
  #hashes = new Uint32Array(smallest)
  /** Key and value of each place, side by side. */
  #entries: unknown[] = new Array(2 * smallest).fill(undefined)
  #size = 0

  get size(): number {
    return this.#size
  }

  get(key: string, hash: number): V | undefined {
    const place = this.#find(key, hash)
    return place < 0 ? undefined : (this.#entries[2 * place + 1] as V)
  }

  has(key: string, hash: number): boolean {
    return this.#find(key, hash) >= 0
  }

  set(key: string, hash: number, value: V): void {
    const place = this.#find(key, hash)
    if (place >= 0) {
      this.#entries[2 * place + 1] = value
      return
    }
    if (this.#size + 1 > fill.most * this.#hashes.length) this.#resize()
    this.#add(key, hash, value)
    this.#size++
  }

  delete(key: string, hash: number): boolean {
    const place = this.#find(key, hash)
    if (place < 0) return false
    this.#close(place)
    this.#size--
    if (this.#hashes.length > smallest && this.#size < fill.least * this.#hashes.length) this.#resize()
    return true
  }

  /** As they are now. */
  entries(): [string, V][] {
    const found: [string, V][] = []
    for (const [place, hash] of this.#hashes.entries()) {
      if (hash !== 0) found.push([this.#entries[2 * place] as string, this.#entries[2 * place + 1] as V])
    }
    return found
  }

  /** The place of a key; the complement of the free one where it would be if it is not there. */
  #find(key: string, hash: number): number {
    const hashes = this.#hashes
    const entries = this.#entries
    let place = homeOf(hash, hashes.length)
    for (;;) {
      const found = hashes[place]
      if (found === 0) return ~place
      if (found === hash && entries[2 * place] === key) return place
      if (++place === hashes.length) place = 0
    }
  }

  /** One that is not there. */
  #add(key: string, hash: number, value: V): void {
    const place = ~this.#find(key, hash)
    this.#hashes[place] = hash
    this.#entries[2 * place] = key
    this.#entries[2 * place + 1] = value
  }

  /** Entries that would not be found past a gap move into it. */
  #close(gap: number): void {
    const hashes = this.#hashes
    const entries = this.#entries
    const { length } = hashes
    let free = gap
    let place = gap
    for (;;) {
      if (++place === length) place = 0
      const hash = hashes[place] as number
      if (hash === 0) break
      const toHome = (place - homeOf(hash, length) + length) % length
      const toFree = (place - free + length) % length
      if (toHome < toFree) continue
      hashes[free] = hash
      entries[2 * free] = entries[2 * place]
      entries[2 * free + 1] = entries[2 * place + 1]
      free = place
    }
    hashes[free] = 0
    entries[2 * free] = undefined
    entries[2 * free + 1] = undefined
  }

  #resize(): void {
    const [hashes, entries] = [this.#hashes, this.#entries]
    const places = Math.max(smallest, Math.ceil((this.#size + 1) / usualFill))
    this.#hashes = new Uint32Array(places)
    this.#entries = new Array(2 * places).fill(undefined)
    for (const [place, hash] of hashes.entries()) {
      if (hash !== 0) this.#add(entries[2 * place] as string, hash, entries[2 * place + 1] as V)
    }
  }
}

/** Where the search for a hash begins. */
function homeOf(hash: number, places: number): number {
  return Math.floor((hash * places) / 2 ** 32)
}
