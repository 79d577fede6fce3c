import type { Backends } from '../model/backend.ts'

/**
 * What became of a list of backends, remembered by the identity of the list: lists are never changed in place, so the
 * answer stays true as long as the list lives, and is forgotten with it. The last answer is at hand without a lookup.
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
