/**
 * Whether a change of a service affects its DNS records. Backends come, go and change health far more often than addresses
 * and ports do; cached answers that do not depend on them are kept.
 *
 * Compares all properties except those listed as irrelevant, so that a property added to the model drops answers until it
 * is listed here.
 */
import type { ClusterService, Endpoint, Frontend, GlobalService } from '../../model/service.ts'

/** Whether all records are the same, except those of single endpoints of a virtual-IP service: {@link sameEndpointRecords}. */
export function sameRecords(before: GlobalService, after: GlobalService): boolean {
  if (isHeadless(before) || isHeadless(after)) return false
  return (
    same(before, after, ['local', 'members', 'frontends', 'backends', 'parked', 'changedAt']) &&
    sameLocal(before.local, after.local) &&
    sameLists(before.members, after.members, sameDeclaration) &&
    sameLists(before.frontends, after.frontends, sameFrontend) &&
    // For `hideEmpty`.
    before.backends.some(isActive) === after.backends.some(isActive)
  )
}

/** Whether the records of the local cluster's endpoints are the same. */
export function sameEndpointRecords(before: GlobalService, after: GlobalService): boolean {
  return (
    before.local === after.local || sameLists(before.local?.endpoints ?? [], after.local?.endpoints ?? [], sameEndpoint)
  )
}

/** The records of a headless service are its backends. */
function isHeadless({ local, members }: GlobalService): boolean {
  return local?.headless === true || members.some(member => member.headless)
}

function sameLocal(before: ClusterService | undefined, after: ClusterService | undefined): boolean {
  return before === after || (before !== undefined && after !== undefined && sameDeclaration(before, after))
}

function sameDeclaration(before: ClusterService, after: ClusterService): boolean {
  return before === after || same(before, after, ['endpoints', 'labels', 'origin'])
}

function sameEndpoint(before: Endpoint, after: Endpoint): boolean {
  return before === after || same(before, after, ['serving', 'terminating', 'node', 'zone', 'forZones', 'weight'])
}

function sameFrontend(before: Frontend, after: Frontend): boolean {
  return before === after || same(before, after, ['backends'])
}

function isActive({ state }: { readonly state: string }): boolean {
  return state === 'active'
}

/** Equal in all properties except the irrelevant ones. */
function same<T extends object>(before: T, after: T, irrelevant: readonly (keyof T)[]): boolean {
  for (const key in before) if (!irrelevant.includes(key) && !equal(before[key], after[key])) return false
  for (const key in after) if (!(key in before) && !irrelevant.includes(key)) return false
  return true
}

/** Deep equality of plain values without cycles; several times as fast as `util.isDeepStrictEqual`. */
function equal(one: unknown, other: unknown): boolean {
  if (one === other) return true
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false
  if (Array.isArray(one)) return Array.isArray(other) && sameLists(one, other, equal)
  return isPlain(one) && isPlain(other) && same<object>(one, other, [])
}

/** Objects whose contents are not enumerable (Map, Set) compare by identity. */
function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function sameLists<T>(before: readonly T[], after: readonly T[], equal: (a: T, b: T) => boolean): boolean {
  return before === after || (before.length === after.length && before.every((one, i) => equal(one, after[i] as T)))
}
