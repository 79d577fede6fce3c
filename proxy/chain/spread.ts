/**
 * Spreads the attempts of one flow over clusters and zones. A wish such as affinity `local` would offer one dead local backend
 * after the other until no attempt is left. So after two failures in a cluster (fewer if fewer attempts are configured) the
 * chain starts from the backends of other clusters, and then of other zones. The chain itself stays the same: what a law does
 * not allow is not reached this way either, and if it leaves no backend that is ready, the flow stays where it is.
 */
import { type Backend, type Backends, clusterOfKey, takesFlows } from '../model/backend.ts'
import type { Flow } from '../model/flow.ts'
import type { ServiceChain } from './compile.ts'
import { narrowed } from './narrow.ts'

/** How many failures in one cluster or zone send a flow to another one; fewer where the last attempt would be among them. */
const failuresPerPlace = 2

/**
 * The list that the chain starts from, of the `untried` backends of a flow: all of them, or those outside the clusters and zones
 * where it has failed too often. `attempts` is the number of attempts that a flow may make.
 */
export function spread(chain: ServiceChain, flow: Flow, untried: Backends, attempts: number): Backends {
  const limit = Math.max(1, Math.min(failuresPerPlace, attempts - 1))
  if (flow.tried.length < limit) return untried
  const clusters = new Rounds(limit)
  const zones = new Rounds(limit)
  for (const key of flow.tried) {
    clusters.failed(clusterOfKey(key))
    const backend = flow.frontend.backends.find(one => one.key === key)
    if (backend) zones.failed(zoneOf(backend))
  }
  if (!clusters.isOver && !zones.isOver) return untried
  const clusterOf = ({ cluster }: Backend) => cluster
  for (const elsewhere of clusters.fewestFirst(untried, clusterOf)) {
    for (const list of zones.fewestFirst(elsewhere, zoneOf)) {
      const [first] = narrowed(chain, flow, list)
      if (first !== undefined && takesFlows(first)) return list
    }
  }
  return untried
}

/** Counts failures by place. A round of a place is over after `limit` failures; places with the fewest rounds come first. */
class Rounds {
  #limit: number
  #failures = new Map<string, number>()

  constructor(limit: number) {
    this.#limit = limit
  }

  failed(place: string): void {
    this.#failures.set(place, (this.#failures.get(place) ?? 0) + 1)
  }

  get isOver(): boolean {
    for (const count of this.#failures.values()) if (count >= this.#limit) return true
    return false
  }

  /** The backends of the places with the fewest rounds, then also those of the next ones, and at last all. */
  fewestFirst(backends: Backends, placeOf: (backend: Backend) => string): Backends[] {
    const rounds = (backend: Backend) => Math.floor((this.#failures.get(placeOf(backend)) ?? 0) / this.#limit)
    const steps = [...new Set(backends.map(rounds))].sort((a, b) => a - b)
    return steps.map((most, i) => (i === steps.length - 1 ? backends : backends.filter(b => rounds(b) <= most)))
  }
}

/** Zones of different clusters are different places, even with the same name. */
function zoneOf({ cluster, zone }: Backend): string {
  return zone === undefined ? '' : `${cluster}/${zone}`
}
