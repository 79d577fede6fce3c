/**
 * What names can tell of a service. Backends come and go, and are found well or ill, far more often than an address or a
 * port changes: an answer that cannot have changed with them is kept, for the service as it is now.
 *
 * What is not known to be without a say has one, so that a new property of a service voids answers until somebody says
 * that it need not.
 */
import type { ClusterService, Endpoint, Frontend, GlobalService } from '../../model/service.ts'

/** Whether every name reads as before, but for those of single endpoints of a virtual service: {@link sameEndpoints}. */
export function sameFacts(before: GlobalService, after: GlobalService): boolean {
  if (isHeadless(before) || isHeadless(after)) return false
  return (
    same(before, after, ['local', 'members', 'frontends', 'backends', 'parked', 'changedAt']) &&
    sameLocal(before.local, after.local) &&
    alike(before.members, after.members, sameDeclaration) &&
    alike(before.frontends, after.frontends, sameFrontend) &&
    // For `hideEmpty`.
    before.backends.some(isActive) === after.backends.some(isActive)
  )
}

/** Whether the names of its own endpoints read as before. */
export function sameEndpoints(before: GlobalService, after: GlobalService): boolean {
  return (
    before.local === after.local || alike(before.local?.endpoints ?? [], after.local?.endpoints ?? [], sameEndpoint)
  )
}

/** Then its backends are what its names tell. */
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

/** Equal, but for the properties named. */
function same<T extends object>(before: T, after: T, silent: readonly (keyof T)[]): boolean {
  for (const key in before) if (!silent.includes(key) && !equal(before[key], after[key])) return false
  for (const key in after) if (!(key in before) && !silent.includes(key)) return false
  return true
}

/** Of values as the model has them, plain and without circles; Node's own comparison takes several times as long. */
function equal(one: unknown, other: unknown): boolean {
  if (one === other) return true
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false
  if (Array.isArray(one)) return Array.isArray(other) && alike(one, other, equal)
  return isPlain(one) && isPlain(other) && same<object>(one, other, [])
}

/** Whoever has insides that no loop over properties shows, such as a Map, is equal to itself alone. */
function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function alike<T>(before: readonly T[], after: readonly T[], equal: (a: T, b: T) => boolean): boolean {
  return before === after || (before.length === after.length && before.every((one, i) => equal(one, after[i] as T)))
}
