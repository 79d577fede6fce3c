/**
 * Nearness: the same node, the same zone, the same region, the rest. For `trafficDistribution` of a Service (KEP-3015, KEP-4444),
 * and for zones across clusters.
 */
import { type Backend, type Backends, type Flow, hashOf, keep, type Location, podOf } from '../../proxy/plugin.ts'
import { isReady } from './sides.ts'

export type Nearness = 'zone' | 'node'

/** Whether the flows of a service should stay near: as the option `topology` says, and for all services or as their spec says. */
export function nearnessOf({ settings, local }: Flow['service'], topology: string): Nearness | undefined {
  // The names of a headless service stand for all its endpoints, and shares of clusters would not be shares of zones.
  if (topology === 'none' || local?.headless || settings.clusterWeights !== undefined) return undefined
  if (settings.trafficDistribution === 'PreferSameNode') return 'node'
  return topology === 'zone' || settings.trafficDistribution !== undefined ? 'zone' : undefined
}

/**
 * The nearest backends, wherever their cluster is: all of the first tier that has a healthy active one. If it has fewer than the
 * floor, as many of the next tiers are added as are missing, pod by pod. For `node`, one on this node is enough.
 */
export function nearest(
  flow: Flow,
  backends: Backends,
  location: Location,
  nearness: Nearness,
  floor: number,
  cluster: string,
): Backends {
  if (nearness === 'node' && location.node !== undefined) {
    const here = (b: Backend) => !b.remote && b.node === location.node
    if (backends.some(b => here(b) && isReady(b))) return keep(backends, here)
  }
  if (location.zone === undefined && location.region === undefined) return backends
  const tierOf = (backend: Backend) => tier(backend, location)
  const ready = backends.filter(isReady)
  const first = ready.reduce((least, backend) => Math.min(least, tierOf(backend)), farthest + 1)
  if (first >= farthest) return first > farthest ? backends : keep(backends, b => tierOf(b) === farthest)
  const near = new Set(ready.filter(b => tierOf(b) === first).map(podOf))
  const missing = minimum(flow, backends, b => tierOf(b) === first, floor) - near.size
  if (missing <= 0) return keep(backends, b => tierOf(b) === first)
  const tiers = new Map(ready.filter(b => tierOf(b) > first).map(b => [podOf(b), tierOf(b)]))
  const added = [...tiers]
    .map(([pod, turn]) => ({ pod, turn, hash: hashOf(`${cluster} ${location.zone} ${pod}`) }))
    .sort((a, b) => a.turn - b.turn || a.hash - b.hash)
    .slice(0, missing)
  const chosen = new Set(added.map(({ pod }) => pod))
  return keep(backends, b => tierOf(b) === first || (isReady(b) && chosen.has(podOf(b))))
}

const farthest = 2

/** 0 in this zone, 1 in this region, 2 elsewhere or unknown. */
function tier({ zone, region }: Backend, location: Location): number {
  if (zone !== undefined && zone === location.zone) return 0
  return region !== undefined && region === location.region ? 1 : farthest
}

/** `starlane.dev/min-healthy-local` of the service, else the option. A percentage refers to the pods of the tier, in any state. */
function minimum(
  { service: { settings }, frontend }: Flow,
  backends: Backends,
  isNear: (backend: Backend) => boolean,
  floor: number,
): number {
  const { minHealthyLocal } = settings
  if (minHealthyLocal === undefined) return floor
  if ('count' in minHealthyLocal) return minHealthyLocal.count
  const known = frontend.backends.length > 0 ? frontend.backends : backends
  const pods = new Set(known.filter(isNear).map(podOf)).size
  return Math.ceil((pods * minHealthyLocal.percent) / 100)
}
