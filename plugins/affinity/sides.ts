/** The two sides of a service, local and remote, and the order of clusters. */
import { type Backend, type Backends, isHealthy, keep, prefer, type Settings } from '../../proxy/plugin.ts'

/** The side that a service prefers. `starlane.dev/min-healthy-local` alone implies `local`. */
export function sideOf({ affinity, minHealthyLocal }: Settings): Settings['affinity'] {
  return affinity === 'none' && minHealthyLocal !== undefined ? 'local' : affinity
}

/**
 * Cilium's rule (pkg/loadbalancer, selectbackends.go). Backends of the preferred side are always used, even unhealthy ones.
 * `local` adds the remote backends if no active local one is healthy and some remote one is; `remote` adds the local ones if no
 * remote one is healthy and some local one is. Terminating backends that still serve count as healthy, but local ones do not
 * keep the remote ones out.
 */
export function ofSide(side: Settings['affinity'], backends: Backends): Backends {
  if (side === 'none') return backends
  const healthyRemote = backends.some(b => b.remote && isHealthy(b))
  if (side === 'local') return healthyRemote && !backends.some(isReadyLocal) ? backends : keep(backends, b => !b.remote)
  const healthyLocal = backends.some(b => !b.remote && isHealthy(b))
  return healthyLocal && !healthyRemote ? backends : keep(backends, b => b.remote)
}

/** The backends of the first cluster in the order that has a healthy active one. Clusters not in the order come last, together. */
export function inOrder(order: readonly string[], backends: Backends): Backends {
  if (order.length === 0) return backends
  const ranks = backends.filter(isReady).map(({ cluster }) => rank(cluster, order))
  const first = ranks.reduce((least, rank) => Math.min(least, rank), Number.POSITIVE_INFINITY)
  return prefer(backends, b => rank(b.cluster, order) === first)
}

export function rank(cluster: string, order: readonly string[]): number {
  const place = order.indexOf(cluster)
  return place === -1 ? order.length : place
}

/** Active and healthy. */
export function isReady(backend: Backend): boolean {
  return backend.state === 'active' && isHealthy(backend)
}

export function isReadyLocal(backend: Backend): boolean {
  return !backend.remote && isReady(backend)
}
