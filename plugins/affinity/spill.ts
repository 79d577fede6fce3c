/** `starlane.dev/min-healthy-local`: adds remote backends one by one when local ones are missing. */
import { type Backends, type Flow, hashOf, keep, podOf, portMatches } from '../../proxy/plugin.ts'
import { isReady, isReadyLocal, rank, sideOf } from './sides.ts'

/**
 * How many healthy active local pods are missing to the minimum of the service. 0 if there is none at all: then Cilium's
 * rule adds all remote ones.
 */
export function missingLocals(flow: Flow, backends: Backends): number {
  const { settings } = flow.service
  if (settings.minHealthyLocal === undefined || sideOf(settings) !== 'local') return 0
  const ready = podsIn(backends.filter(isReadyLocal))
  return ready === 0 ? 0 : Math.max(0, minimum(flow) - ready)
}

/** A percentage refers to all known local pods of the port, in any state. */
function minimum({ service, frontend }: Flow): number {
  const { minHealthyLocal } = service.settings
  if (minHealthyLocal === undefined) return 0
  if ('count' in minHealthyLocal) return minHealthyLocal.count
  const { name, protocol } = frontend
  const known = service.backends.filter(b => !b.remote && portMatches({ name, protocol, family: undefined }, b))
  return Math.ceil((podsIn(known) * minHealthyLocal.percent) / 100)
}

/** A pod with an address of each family counts once. */
function podsIn(backends: Backends): number {
  return new Set(backends.map(podOf)).size
}

/**
 * All local backends, and as many remote pods as are missing, so that the load moves gradually. Clusters come in the given
 * order; within that, pods are ranked by a hash of the local cluster's name and their own (rendezvous hashing), so that
 * clusters that spill at the same time do not all choose the same pods, and each keeps its choice.
 */
export function spill(backends: Backends, missing: number, cluster: string, order: readonly string[]): Backends {
  const turns = new Map(backends.filter(b => b.remote && isReady(b)).map(b => [podOf(b), rank(b.cluster, order)]))
  const ranked = [...turns]
    .map(([pod, turn]) => ({ pod, turn, hash: hashOf(`${cluster} ${pod}`) }))
    .sort((a, b) => a.turn - b.turn || a.hash - b.hash)
  const chosen = new Set(ranked.slice(0, missing).map(({ pod }) => pod))
  return keep(backends, b => !b.remote || (isReady(b) && chosen.has(podOf(b))))
}
