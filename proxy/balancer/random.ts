/** A random choice by weight, independent of earlier ones. */
import type { Balancer } from '../model/flow.ts'
import type { Random } from '../model/time/clock.ts'
import { PerListCache } from './backend-list.ts'
import { WeightedDraw } from './weighted-draw.ts'

/** Picks at random, in proportion to the weights: Cilium's default. */
export function weightedRandom({ random }: { readonly random: Random }): Balancer {
  const draws = new PerListCache(backends => new WeightedDraw(backends))
  return { pick: (_flow, backends) => draws.of(backends).draw(random) }
}
