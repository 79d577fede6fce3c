/** Shares of clusters (`starlane.dev/cluster-weights`) as weights of backends, for any list that flows are balanced over. */
import { type Backend, type Backends, isBad } from '../backend.ts'

/**
 * The backends of a cluster keep their weights relative to each other, and have its share together. Those of other ranks are left
 * out of the sum, so that the ones that are chosen from have the whole share. A cluster without a share gets flows only when no
 * other backend is left. Returns the same array if no weight changes.
 */
export function sharedOut(backends: Backends, shares: Readonly<Record<string, number>>): Backends {
  const groupOf = (b: Backend): string => `${b.cluster} ${rankOf(b)}`
  const sums = new Map<string, number>()
  for (const backend of backends) sums.set(groupOf(backend), (sums.get(groupOf(backend)) ?? 0) + backend.weight)
  const isSettled = (b: Backend): boolean => isNearly(sums.get(groupOf(b)) ?? 0, shares[b.cluster] ?? 0)
  if (backends.every(isSettled)) return backends
  return backends.map(backend => {
    const sum = sums.get(groupOf(backend)) ?? 0
    return Object.freeze({ ...backend, weight: sum > 0 ? ((shares[backend.cluster] ?? 0) * backend.weight) / sum : 0 })
  })
}

/** As `select` ranks them: a flow is offered backends of one rank, in all clusters. */
export function rankOf(backend: Backend): string {
  const { state, serving, untested = false } = backend
  const isGood = !isBad(backend)
  return `${state} ${serving} ${isGood} ${isGood && state === 'active' && untested}`
}

/** Sums of fractions differ in their last digits. */
function isNearly(sum: number, share: number): boolean {
  return Math.abs(sum - share) <= 1e-9 * share
}
