/** A weighted random draw in constant time. */
import type { Backend, Backends } from '../model/backend.ts'
import type { Random } from '../model/time/clock.ts'
import { at, eligible, even } from './backend-list.ts'

/**
 * Walker's alias method: draws a backend with a probability in proportion to its weight, in constant time. There are as many
 * slots as backends; each slot belongs to at most two of them.
 */
export class WeightedDraw {
  #backends: Backends
  /** The share of slot i that belongs to backend i; the rest belongs to its alias. Undefined when weights are equal. */
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

/** Fills the rest of each light backend's slot with the excess of a heavy one. */
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
