/**
 * What names can tell of a service. Backends come and go, and are found well or ill, far more often than an address or a
 * port changes: an answer that cannot have changed with them is kept, for the service as it is now.
 */
import { isDeepStrictEqual } from 'node:util'
import type { ClusterService, Endpoint, Frontend, GlobalService } from '../model/service.ts'

/**
 * Whether every name reads as before. What is not known to be without a say has one, so that a new property of a service
 * voids answers until somebody says that it need not.
 */
export function sameFacts(before: GlobalService, after: GlobalService): boolean {
  if (isHeadless(before) || isHeadless(after)) return false
  return (
    same(before, after, ['local', 'members', 'frontends', 'backends', 'parked', 'changedAt']) &&
    alike(before.members, after.members, sameDeclaration) &&
    (before.local === after.local ||
      (before.local !== undefined && after.local !== undefined && sameDeclaration(before.local, after.local))) &&
    alike(before.frontends, after.frontends, sameFrontend) &&
    // For `hideEmpty`.
    before.backends.some(isActive) === after.backends.some(isActive)
  )
}

/** Then its backends are what its names tell. */
function isHeadless({ local, members }: GlobalService): boolean {
  return local?.headless === true || members.some(member => member.headless)
}

function sameDeclaration(before: ClusterService, after: ClusterService): boolean {
  return (
    before === after ||
    (same(before, after, ['endpoints', 'labels', 'origin']) && alike(before.endpoints, after.endpoints, sameEndpoint))
  )
}

/** An endpoint of a virtual service has a name, and an address under it while it is ready. */
function sameEndpoint(before: Endpoint, after: Endpoint): boolean {
  return before.address === after.address && before.hostname === after.hostname && before.ready === after.ready
}

function sameFrontend(before: Frontend, after: Frontend): boolean {
  return before === after || same(before, after, ['backends'])
}

function isActive({ state }: { readonly state: string }): boolean {
  return state === 'active'
}

/** Of one shape and equal, but for the properties named. */
function same<T extends object>(before: T, after: T, silent: readonly (keyof T)[]): boolean {
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof T>
  for (const key of silent) keys.delete(key)
  for (const key of keys) {
    const [one, other] = [before[key], after[key]]
    if (one !== other && !isDeepStrictEqual(one, other)) return false
  }
  return true
}

function alike<T>(before: readonly T[], after: readonly T[], equal: (a: T, b: T) => boolean): boolean {
  return before === after || (before.length === after.length && before.every((one, i) => equal(one, after[i] as T)))
}
