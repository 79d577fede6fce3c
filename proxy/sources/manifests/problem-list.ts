/** A bounded list of problems. */
import type { Problem } from '../../model/error.ts'

/** Problems beyond the maximum are only counted. */
export class ProblemList {
  readonly #where: string
  readonly #max: number
  readonly #problems: Problem[] = []
  #more = 0

  constructor(where: string, max: number) {
    this.#where = where
    this.#max = max
  }

  /** `make` is called only if the list is not full. */
  add(make: () => Problem): void {
    if (this.#problems.length < this.#max) this.#problems.push(make())
    else this.#more++
  }

  list(): readonly Problem[] {
    if (this.#more === 0) return this.#problems
    const message = `${this.#more} more problems are not shown; fix the others to see them`
    return [...this.#problems, { code: 'SOURCE_OBJECT', where: this.#where, message }]
  }
}
