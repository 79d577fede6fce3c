/** Results of narrowing, by the list that was narrowed. */
import type { Backends } from '../model/backend.ts'

/**
 * Memoizes by the identity of the input list. Lists are never changed in place, so a result stays valid as long as its input
 * exists, and is collected with it. The last input and output are kept at hand, without a lookup.
 */
export class Memo {
  #input: Backends | undefined
  #output: Backends | undefined
  #all = new WeakMap<Backends, Backends>()

  get(input: Backends): Backends | undefined {
    if (input === this.#input) return this.#output
    const output = this.#all.get(input)
    if (output === undefined) return undefined
    this.#input = input
    this.#output = output
    return output
  }

  set(input: Backends, output: Backends): Backends {
    this.#input = input
    this.#output = output
    this.#all.set(input, output)
    return output
  }
}
