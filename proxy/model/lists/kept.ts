/** What many objects have in common, such as zones and ports, is kept once for all of them. */

/** So many of one kind, of names so long. With more of them all are forgotten: what is in use stays, and is not shared with what follows. */
const most = { known: 1024, name: 256 }

export class Kept<T> {
  readonly #known = new Map<string, T>()

  find(name: string): T | undefined {
    return this.#known.get(name)
  }

  /** The one that was given first under this name, which says everything about it. */
  of(name: string, one: T): T {
    const known = this.find(name)
    if (known !== undefined || name.length > most.name) return known ?? one
    if (this.#known.size >= most.known) this.#known.clear()
    this.#known.set(name, one)
    return one
  }
}
