/** A weighted random draw in constant time. */
import { type AliasTable, aliasTable } from '../model/alias-table.ts'
import type { Backend, Backends } from '../model/backend.ts'
import type { Random } from '../model/time/clock.ts'
import { at, eligible, even } from './backend-list.ts'

/** Draws a backend with a probability in proportion to its weight. */
export class WeightedDraw {
  #backends: Backends
  /** Undefined when weights are equal. */
  #table: AliasTable | undefined

  constructor(list: Backends) {
    const backends = eligible(list)
    this.#backends = backends
    if (!even(backends)) this.#table = aliasTable(backends.map(({ weight }) => weight))
  }

  draw(random: Random): Backend {
    const spot = random() * this.#backends.length
    const slot = Math.floor(spot)
    if (this.#table === undefined || spot - slot < (this.#table.own[slot] as number)) return at(this.#backends, slot)
    return at(this.#backends, this.#table.alias[slot] as number)
  }
}
