/** Results of narrowing, by the list that was narrowed. */
import type { Backends } from '../model/backend.ts'

/**
 * Memoizes by the identity of the input list. Lists are never changed in place, so a result stays valid as long as its input
 * exists, and is collected with it. The last input and output are kept at hand, without a lookup.
 */
export class Memo {
  #input: Backends | undefined
  #output: Backends | undefined
  /** Undefined while there has been one input only, which is the rule. */
  #all: WeakMap<Backends, Backends> | undefined

  get(input: Backends): Backends | undefined {
    if (input === this.#input) return this.#output
    const output = this.#all?.get(input)
    if (output === undefined) return undefined
    this.#input = input
    this.#output = output
    return output
  }

  set(input: Backends, output: Backends): Backends {
    if (this.#input !== undefined && this.#output !== undefined && this.#input !== input) {
      this.#all ??= new WeakMap([[this.#input, this.#output]])
      this.#all.set(input, output)
    } else this.#all?.set(input, output)
    this.#input = input
    this.#output = output
    return output
  }
}
