import type { Backend, Backends } from '../model/backend.ts'
import type { Random } from '../model/time/clock.ts'
import { at, eligible, even } from './plans.ts'

/**
 * Draws a backend as often as its weight says, at the same cost however many there are: Walker's alias method, with as many
 * slots as backends, each shared by at most two of them.
 */
export class Urn {
  #backends: Backends
  /** How much of a slot belongs to the backend of its number; the rest belongs to its alias. Absent when all of it does. */
  #own: Float64Array | undefined
  #alias: Uint32Array

  constructor(list: Backends) {
    const backends = eligible(list)
    this.#backends = backends
    this.#alias = new Uint32Array(even(backends) ? 0 : backends.length)
    if (this.#alias.length > 0) this.#own = share(backends, this.#alias)
  }

  draw(random: Random): Backend {
    const spot = random() * this.#backends.length
    const slot = Math.floor(spot)
    if (this.#own === undefined || spot - slot < (this.#own[slot] as number)) return at(this.#backends, slot)
    return at(this.#backends, this.#alias[slot] as number)
  }
}

/** Fills the room that light backends leave in their slots with what is too much of the heavy ones. */
function share(backends: Backends, alias: Uint32Array): Float64Array {
  const sum = backends.reduce((total, { weight }) => total + weight, 0)
  const parts = Float64Array.from(backends, ({ weight }) => (weight * backends.length) / sum)
  const light = [...parts.keys()].filter(i => (parts[i] as number) < 1)
  const heavy = [...parts.keys()].filter(i => (parts[i] as number) >= 1)
  const own = new Float64Array(backends.length).fill(1)
  for (let giver = heavy.pop(); giver !== undefined; ) {
    const taker = light.pop()
    if (taker === undefined) break
    own[taker] = parts[taker] as number
    alias[taker] = giver
    parts[giver] = (parts[giver] as number) - (1 - (parts[taker] as number))
    if ((parts[giver] as number) >= 1) continue
    light.push(giver)
    giver = heavy.pop()
  }
  return own
}
