/**
 * The weights of a list of backends that flows are balanced over. The backends of one pod (dual stack, several ports) share
 * the weight of one, and `starlane.dev/cluster-weights` gives each cluster its share, however many backends it has.
 */
import { type Backend, type Backends, podOf } from '../model/backend.ts'
import { rankOf, sharedOut } from '../model/lists/cluster-shares.ts'
import type { Settings } from '../model/service.ts'

/** Returns the same array if no weight changes; `backends` must not mix the clusters. */
export function balanced(backends: Backends, shares: Settings['clusterWeights']): Backends {
  const perPod = repeatsPod(backends) ? sharedByPod(backends) : backends
  return shares ? sharedOut(perPod, shares) : perPod
}

/** Whether a pod has several of the backends. */
export function repeatsPod(backends: Backends): boolean {
  const pods = new Set<string>()
  let cluster: string | undefined
  for (const backend of backends) {
    if (backend.cluster !== cluster) pods.clear()
    cluster = backend.cluster
    if (backend.pod === undefined) continue
    if (pods.has(backend.pod)) return true
    pods.add(backend.pod)
  }
  return false
}

/** A pod is split only over those of its backends that are chosen from together: if one is down, the other has all its weight. */
function sharedByPod(backends: Backends): Backends {
  const groupOf = (b: Backend): string => `${podOf(b)} ${rankOf(b)}`
  const counts = new Map<string, number>()
  for (const backend of backends) counts.set(groupOf(backend), (counts.get(groupOf(backend)) ?? 0) + 1)
  return backends.map(backend => {
    const count = counts.get(groupOf(backend)) ?? 1
    return count === 1 ? backend : Object.freeze({ ...backend, weight: backend.weight / count })
  })
}
