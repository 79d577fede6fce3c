import type { Backend } from '../model/backend.ts'
import type { Balancer, OpenFlows } from '../model/flow.ts'
import type { Random } from '../model/time/clock.ts'
import { Plans } from './plans.ts'
import { Urn } from './weighted-draw.ts'

/** Draws for a second backend. Where one outweighs all others it may come every time, and is then taken. */
const draws = 8

/**
 * Of two backends drawn at random the one with fewer open flows for its weight (the power of two choices): nearly as even as
 * looking at all of them, and proxies that see the same counts do not all run to the same backend. They are drawn by weight,
 * so that weights hold among idle backends too.
 */
export function leastConnections({
  random,
  openFlows,
}: {
  readonly random: Random
  readonly openFlows: OpenFlows
}): Balancer {
  const urns = new Plans(backends => new Urn(backends))
  const load = (backend: Backend): number => openFlows(backend) / (backend.weight || 1)
  return {
    pick: (_flow, backends) => {
      const urn = urns.of(backends)
      const one = urn.draw(random)
      for (let drawn = 0; drawn < draws; drawn++) {
        const two = urn.draw(random)
        if (two !== one) return load(two) < load(one) ? two : one
      }
      return one
    },
  }
}
