/**
 * Whether a change of a service affects its DNS records. Backends come, go and change health far more often than addresses
 * and ports do; cached answers that do not depend on them are kept.
 *
 * Compares all properties except those listed as irrelevant, so that a property added to the model drops answers until it
 * is listed here.
 */
import { same, sameLists } from '../../model/lists/plain-equal.ts'
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
