import type { Balancer } from '../model/flow.ts'
import type { Random } from '../model/time/clock.ts'
import { Plans } from './plans.ts'
import { Urn } from './weighted-draw.ts'

/** Any one, as likely as its weight says: Cilium's default. */
export function randomly({ random }: { readonly random: Random }): Balancer {
  const urns = new Plans(backends => new Urn(backends))
  return { pick: (_flow, backends) => urns.of(backends).draw(random) }
}
