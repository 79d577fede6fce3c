import { type Backends, type Flow, hashOf, keep, portMatches } from '../../proxy/plugin.ts'
import { isReady, isReadyLocal, rank, sideOf } from './sides.ts'

/**
 * How many healthy active local backends are wanting for the service's minimum. None are while there is none at all: then it
 * is Cilium's rule that brings the remote ones in, all of them.
 */
export function missingLocals(flow: Flow, backends: Backends): number {
  const { settings } = flow.service
  if (settings.minHealthyLocal === undefined || sideOf(settings) !== 'local') return 0
  const ready = backends.filter(isReadyLocal).length
  return ready === 0 ? 0 : Math.max(0, minimum(flow) - ready)
}

/** A percentage is of all local endpoints that are known for the port, whatever their state. */
function minimum({ service, frontend }: Flow): number {
  const wish = service.settings.minHealthyLocal
  if (wish === undefined) return 0
  if ('count' in wish) return wish.count
  const { name, protocol } = frontend
  const known = service.backends.filter(b => !b.remote && portMatches({ name, protocol, family: undefined }, b))
  return Math.ceil((known.length * wish.percent) / 100)
}

/**
 * All local backends, and as many remote ones as are missing: gradual, where all or nothing would let a herd loose. Clusters
 * take their turn by the order; within, a hash of our cluster's name and the backend's key ranks them (rendezvous hashing),
 * so that clusters that spill at the same time do not all choose the same backends, and each keeps its own.
 */
export function spill(backends: Backends, missing: number, cluster: string, order: readonly string[]): Backends {
  const ranked = backends
    .filter(b => b.remote && isReady(b))
    .map(backend => ({ backend, turn: rank(backend.cluster, order), hash: hashOf(`${cluster} ${backend.key}`) }))
    .sort((a, b) => a.turn - b.turn || a.hash - b.hash)
  const chosen = new Set(ranked.slice(0, missing).map(({ backend }) => backend))
  return keep(backends, b => !b.remote || chosen.has(b))
}
