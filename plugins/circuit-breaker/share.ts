/** Which breakers block the flows of a frontend: never more than a share of its backends. */
import { type Backend, type Backends, podOf } from '../../proxy/plugin.ts'
import type { Breaker } from './breaker.ts'

/**
 * The destinations to avoid, out of the `blocking` breakers, oldest first: at most `maxPercent` of the pods, but always
 * one. The others are used: if so many fail at once, something else than the backends is likely to be wrong.
 */
export function blocked(
  backends: Backends,
  blocking: ReadonlyMap<string, Breaker>,
  maxPercent: number,
): ReadonlySet<string> {
  const keys = new Set<string>()
  if (blocking.size === 0) return keys
  const byDestination = new Map<string, Backend>()
  const pods = new Set<string>()
  for (const backend of backends) {
    pods.add(podOf(backend))
    if (blocking.has(backend.destination)) byDestination.set(backend.destination, backend)
  }
  if (byDestination.size === 0) return keys
  const most = Math.max(1, Math.floor((pods.size * maxPercent) / 100))
  const avoided = new Set<string>()
  for (const key of blocking.keys()) {
    const backend = byDestination.get(key)
    if (!backend || (avoided.size >= most && !avoided.has(podOf(backend)))) continue
    avoided.add(podOf(backend))
    keys.add(key)
  }
  return keys
}
