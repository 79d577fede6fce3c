/** What belongs to each of hundreds of thousands of names. To most of them belongs one thing, and that needs no list. */
import { LargeMap } from './large-map.ts'

export class MultiMap<V extends string | object> {
  readonly #known = new LargeMap<V | Set<V>>()

  /** Names. */
  get size(): number {
    return this.#known.size
  }

  names(): Iterable<string> {
    return this.#known.keys()
  }

  has(name: string): boolean {
    return this.#known.has(name)
  }

  get(name: string): readonly V[] {
    const known = this.#known.get(name)
    return known === undefined ? nothing : known instanceof Set ? [...known] : [known]
  }

  /** One of them; no list of all is made. */
  first(name: string): V | undefined {
    const known = this.#known.get(name)
    if (!(known instanceof Set)) return known
    const [first] = known
    return first
  }

  includes(name: string, one: V): boolean {
    const known = this.#known.get(name)
    return known instanceof Set ? known.has(one) : known === one
  }

  /** Whether something else belongs to the name. */
  hasOther(name: string, one: V): boolean {
    const known = this.#known.get(name)
    return known !== undefined && known !== one
  }

  /** True if it is the first of the name. */
  add(name: string, one: V): boolean {
    const known = this.#known.get(name)
    if (known === undefined) this.#known.set(name, one)
    else if (known instanceof Set) known.add(one)
    else if (known !== one) this.#known.set(name, new Set([known, one]))
    return known === undefined
  }

  /** True if it was the last of the name. */
  delete(name: string, one: V): boolean {
    const known = this.#known.get(name)
    if (!(known instanceof Set)) return known === one && this.#known.delete(name)
    known.delete(one)
    const [last] = known
    if (known.size === 1 && last !== undefined) this.#known.set(name, last)
    return false
  }
}

const nothing: readonly never[] = []
