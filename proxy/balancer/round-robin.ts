import type { Backend, Backends } from '../model/backend.ts'
import type { Balancer } from '../model/flow.ts'
import type { Random } from '../model/time/clock.ts'
import { at, eligible, even, Plans } from './plans.ts'

/**
 * Each in turn. With equal weights a counter; otherwise smooth as nginx does it: every backend gains its weight each turn, the
 * richest is picked and pays the sum, so that heavy ones are spread over the round instead of coming in a row.
 */
export function roundRobin({ random }: { readonly random: Random }): Balancer {
  // A new list starts anywhere: one that changes often must not favour its first backends.
  const plans = new Plans<Turns>(backends => {
    const turns = eligible(backends)
    return even(turns) ? new EqualTurns(turns, random) : new WeightedTurns(turns, random)
  })
  return { pick: (_flow, backends) => plans.of(backends).next() }
}

interface Turns {
  next(): Backend
}

class EqualTurns implements Turns {
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

class WeightedTurns implements Turns {
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
    let richest = 0
    let most = Number.NEGATIVE_INFINITY
    for (let i = 0; i < credits.length; i++) {
      const credit = (credits[i] as number) + (weights[i] as number)
      credits[i] = credit
      if (credit > most) {
        most = credit
        richest = i
      }
    }
    credits[richest] = most - this.#sum
    return at(this.#backends, richest)
  }
}
