import { type Backend, type Backends, isHealthy, keep, prefer, type Settings } from '../../proxy/plugin.ts'

/** The side that a service prefers. A least number of local backends is a wish for local ones. */
export function sideOf({ affinity, minHealthyLocal }: Settings): Settings['affinity'] {
  return affinity === 'none' && minHealthyLocal !== undefined ? 'local' : affinity
}

/**
 * Cilium's rule (pkg/loadbalancer, selectbackends.go). The preferred side is used always, even unhealthy. `local` adds the
 * remote backends when no active local one is healthy and some remote one is; `remote` adds the local ones when no remote one
 * is healthy and some local one is. Terminating backends that still serve are healthy, but local ones of them do not hold
 * the remote ones back.
 */
export function ofSide(side: Settings['affinity'], backends: Backends): Backends {
  if (side === 'none') return backends
  const healthyRemote = backends.some(b => b.remote && isHealthy(b))
  if (side === 'local') return healthyRemote && !backends.some(isReadyLocal) ? backends : keep(backends, b => !b.remote)
  const healthyLocal = backends.some(b => !b.remote && isHealthy(b))
  return healthyLocal && !healthyRemote ? backends : keep(backends, b => b.remote)
}

/** Those of the first cluster that has a healthy active backend. Clusters that the order does not name come last, together. */
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

/** Fit for new flows without reserve. */
export function isReady(backend: Backend): boolean {
  return backend.state === 'active' && isHealthy(backend)
}

export function isReadyLocal(backend: Backend): boolean {
  return !backend.remote && isReady(backend)
}
