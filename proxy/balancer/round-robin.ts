/** Round-robin, smooth with weights. */
import type { Backend, Backends } from '../model/backend.ts'
import type { Balancer } from '../model/flow.ts'
import type { Random } from '../model/time/clock.ts'
import { at, eligible, even, PerListCache } from './backend-list.ts'

/**
 * Equal weights need only a counter. Otherwise nginx's smooth weighted round-robin: each turn every backend gains its weight
 * as credit, the one with the most is picked and pays the sum, so that heavy ones are spread over the round.
 */
export function roundRobin({ random }: { readonly random: Random }): Balancer {
  // A new list starts at a random place, so that a list that changes often does not favour its first backends.
  const rotations = new PerListCache<Rotation>(backends => {
    const turns = eligible(backends)
    return even(turns) ? new EqualRotation(turns, random) : new SmoothWeightedRotation(turns, random)
  })
  return { pick: (_flow, backends) => rotations.of(backends).next() }
}

interface Rotation {
  next(): Backend
}

class EqualRotation implements Rotation {
  #backends: Backends
  #next: number

  constructor(backends: Backends, random: Random) {
    this.#backends = backends
    this.#next = Math.floor(random() * backends.length)
  }

  next(): Backend {
    const index = this.#next
    this.#next = index + 1 === this.#backends.length ? 0 : index + 1
    return at(this.#backends, index)
  }
}

class SmoothWeightedRotation implements Rotation {
  #backends: Backends
  #weights: Float64Array
  #credits: Float64Array
  #sum: number

  constructor(backends: Backends, random: Random) {
    this.#backends = backends
    this.#weights = Float64Array.from(backends, ({ weight }) => weight)
    this.#credits = this.#weights.map(weight => weight * (random() - 0.5))
    this.#sum = this.#weights.reduce((sum, weight) => sum + weight, 0)
  }

  next(): Backend {
    const weights = this.#weights
    const credits = this.#credits
    let picked = 0
    let most = Number.NEGATIVE_INFINITY
    for (let i = 0; i < credits.length; i++) {
      const credit = (credits[i] as number) + (weights[i] as number)
      credits[i] = credit
      if (credit > most) {
        most = credit
        picked = i
      }
    }
    credits[picked] = most - this.#sum
    return at(this.#backends, picked)
  }
}
