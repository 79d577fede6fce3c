/** The balancers by name: with each, how the last choice among equal backends is made. */
import type { Balancer, OpenFlows } from '../model/flow.ts'
import type { Random } from '../model/time/clock.ts'
import { leastConnections } from './least-connections.ts'
import { maglev } from './maglev.ts'
import { weightedRandom } from './random.ts'
import { roundRobin } from './round-robin.ts'

export interface BalancerParts {
  readonly random: Random
  readonly openFlows: OpenFlows
}

/** All balancers, by their name in `proxy.balancer`. */
export const balancers = {
  'round-robin': roundRobin,
  'least-connections': leastConnections,
  maglev,
  random: weightedRandom,
} as const satisfies Readonly<Record<string, (parts: BalancerParts) => Balancer>>

export type BalancerName = keyof typeof balancers

export function createBalancer(name: BalancerName, parts: BalancerParts): Balancer {
  return balancers[name](parts)
}
