/** One object for all holders of equal values. */

/** Counts the holders of each value; the value of the last one is forgotten. */
export class SharedValues<T extends object> {
  readonly #byText = new Map<string, { readonly value: T; holders: number }>()
  readonly #texts = new Map<T, string>()

  get size(): number {
    return this.#byText.size
  }

  /** The object to keep for a value whose text is `text`. Each call is one holder. */
  take(text: string, value: T): T {
    const known = this.#byText.get(text)
    if (known) {
      known.holders++
      return known.value
    }
    this.#byText.set(text, { value, holders: 1 })
    this.#texts.set(value, text)
    return value
  }

  /** A holder of an object from `take` has gone. */
  release(value: T): void {
    const text = this.#texts.get(value)
    const known = text === undefined ? undefined : this.#byText.get(text)
    if (text === undefined || !known) return
    known.holders--
    if (known.holders > 0) return
    this.#byText.delete(text)
    this.#texts.delete(value)
  }
}
