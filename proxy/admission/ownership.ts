/**
 * Whose an address is, where several clusters of one network name it. A cluster owns an address if a pod of its is there (an
 * endpoint with `targetRef`), or if it is one of its Nodes' or in their pod networks; otherwise it only lists it. Pure.
 */
import { isPrivate } from '../model/address.ts'
import type { Refusal } from './address-policy.ts'

/** What one cluster says of an address. */
export interface Claim {
  readonly cluster: string
  readonly local: boolean
  readonly tenant: string | undefined
  /** The order of the configuration. */
  readonly rank: number
  /** Whether it says that the address is its own. */
  readonly owns: boolean
  /** Whether the configuration says that it may name the address (`allow.cidrs`). */
  readonly given: boolean
}

/**
 * Whether a claim prevents another one, so that the endpoints of the other at this address are refused.
 *
 * - Of two that own the address, the local cluster is right, then the first in the order of the configuration.
 * - One that owns it goes before one that only lists it. Except: what the local cluster lists, no cluster can take away by saying
 *   that it is its own, unless the local cluster is one tenant's and the other another's.
 * - Two that only list it both may: it is outside of both.
 *
 * Between clusters that do not belong to the same tenant that is not enough, since a tenant could reach what it may not by listing it,
 * or by saying that it is a pod of its own. Of two that own an address, or list a private one, the local cluster is right, then the one
 * that belongs to no tenant, and of two tenants neither. Both may list what `allow.cidrs` of both contains.
 */
export function prevents(other: Claim, claim: Claim, address: string): boolean {
  const isForeign = other.tenant !== claim.tenant
  if (other.owns && claim.owns) return isForeign ? isStronger(other, claim) : order(other, claim) < 0
  if (other.owns) return !isTrusted(claim, other)
  if (claim.owns) return isTrusted(other, claim)
  const isShared = !isForeign || !isPrivate(address) || (other.given && claim.given)
  return !isShared && isStronger(other, claim)
}

/** Of clusters of different tenants. */
function isStronger(other: Claim, claim: Claim): boolean {
  if (other.local !== claim.local) return other.local
  return claim.tenant !== undefined
}

/** Whether what a cluster lists counts like an address of its own, against another cluster. */
function isTrusted({ local, tenant }: Claim, other: Claim): boolean {
  return local && (tenant === undefined || tenant === other.tenant)
}

function order(a: Claim, b: Claim): number {
  return a.rank - b.rank || (a.cluster < b.cluster ? -1 : 1)
}

export function refusalOfClaim(claim: Claim, other: Claim): Refusal {
  const limit = `limit ${other.cluster} by its allow.cidrs`
  if (claim.owns && other.owns) {
    return {
      reason: 'owner',
      message: `is an address of ${other.cluster} too, by its pods or nodes; give the clusters pod networks that do not overlap, or ${limit}`,
    }
  }
  if (other.owns) {
    return {
      reason: 'owner',
      message: `belongs to ${other.cluster}, which has a pod or node there; list only addresses of the cluster's own pods, or ${limit}`,
    }
  }
  if (claim.owns) {
    return {
      reason: 'owner',
      message: `is listed by ${other.cluster}, which goes first; take it off there if it is a pod of this cluster`,
    }
  }
  return {
    reason: 'tenant',
    message: `is listed by ${other.cluster} too, which is not of the same tenant, and nothing says whose it is; ${limit}, or name it in allow.cidrs of both`,
  }
}
