/** Least connections with two random choices. */
import type { Backend } from '../model/backend.ts'
import type { Balancer, OpenFlows } from '../model/flow.ts'
import type { Random } from '../model/time/clock.ts'
import { PerListCache } from './backend-list.ts'
import { WeightedDraw } from './weighted-draw.ts'

/** Draws for a second backend. A backend that outweighs all others may come up every time, and is then picked. */
const maxDraws = 8

/**
 * Draws two backends and picks the one with fewer open flows per weight (the power of two choices): nearly as even as
 * comparing all of them, and proxies with the same counts do not all pick the same backend. Draws are weighted, so that
 * weights hold among idle backends too.
 */
export function leastConnections({
  random,
  openFlows,
}: {
  readonly random: Random
  readonly openFlows: OpenFlows
}): Balancer {
  const draws = new PerListCache(backends => new WeightedDraw(backends))
  const load = (backend: Backend): number => openFlows(backend) / (backend.weight || 1)
  return {
    pick: (_flow, backends) => {
      const drawing = draws.of(backends)
      const one = drawing.draw(random)
      for (let drawn = 0; drawn < maxDraws; drawn++) {
        const two = drawing.draw(random)
        if (two !== one) return load(two) < load(one) ? two : one
      }
      return one
    },
  }
}
