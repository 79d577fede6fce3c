/** One end of a flow, as rules see it. */
import { familyOf, type Identity, type Occupant } from '../../proxy/plugin.ts'
import { type AddressNumber, isIn, numberOf } from './range.ts'
import type { Kind, Peer } from './rule.ts'
import { type LabelOf, labelsOf, type Selector, selects } from './selector.ts'

export interface Party {
  readonly kind: Kind
  readonly address: string
  readonly number: AddressNumber
  /** Undefined for `world`. */
  readonly identity: Identity | undefined
  /** `shop/cart-0`, for messages. */
  readonly pod: string | undefined
  readonly labelOf: LabelOf
  /** Outside of the clusters: what DNS has resolved to its address. */
  readonly names: readonly string[]
}

/** Cilium's reserved labels of what is not a Pod. */
const reserved: Readonly<Record<Exclude<Kind, 'pod'>, string>> = {
  host: 'reserved:host',
  node: 'reserved:remote-node',
  ingress: 'reserved:ingress',
  world: 'reserved:world',
}

export function partyOf(
  address: string,
  occupant: Occupant | undefined,
  kind: Kind = occupant?.identity.kind ?? 'world',
  names: readonly string[] = [],
): Party {
  const identity = occupant?.identity
  return {
    kind,
    address,
    number: numberOf(address),
    identity,
    pod: occupant?.pod,
    names: kind === 'world' ? names : [],
    labelOf:
      kind === 'pod' && identity ? labelsOf(identity) : key => (key === reserved[kind as 'host'] ? '' : undefined),
  }
}

/** Whether a peer of a rule is this party. One that depends on the service, or cannot be decided, is not asked here. */
export function matchesParty(peer: Peer, party: Party): boolean {
  switch (peer.is) {
    case 'anyone':
      return true
    case 'labels':
      return selects(peer.selector, party.labelOf)
    case 'others':
      return party.kind === 'pod' && !peer.selectors.some(selector => selects(selector, party.labelOf))
    case 'range':
      return (peer.pods || party.kind === 'world') && isWithin(peer, party.number)
    case 'kinds':
      return isOfKinds(peer, party)
    case 'name':
      return party.names.some(name => peer.test.test(name))
    case 'undecided':
      return peer.could.includes(party.kind)
    case 'service':
      return false
  }
}

function isWithin({ ranges, except }: Extract<Peer, { is: 'range' }>, number: AddressNumber): boolean {
  return ranges.some(range => isIn(range, number)) && !except.some(hole => isIn(hole, number))
}

/** A Pod of another cluster is neither in the cluster nor in the world. Machines and ingress proxies count as in the cluster. */
function isOfKinds({ kinds, family, cluster }: Extract<Peer, { is: 'kinds' }>, party: Party): boolean {
  if (!kinds.includes(party.kind)) return false
  if (family !== undefined && familyOf(party.address) !== family) return false
  return party.kind !== 'pod' || cluster === undefined || party.identity?.cluster === cluster
}

export function isSubject(selector: Selector, cluster: string, party: Party): boolean {
  return party.kind === 'pod' && party.identity?.cluster === cluster && selects(selector, party.labelOf)
}

/** For messages: `shop/cart-0 of cluster-1`, `this machine`, `192.0.2.7 (world)`. */
export function partyText({ kind, pod, identity, address }: Party): string {
  if (kind === 'pod' && identity?.namespace === '') return `${address} of ${identity.cluster}, whose Pod is not known,`
  if (kind === 'pod') return `${pod ?? `${address} in ${identity?.namespace}`} of ${identity?.cluster}`
  if (kind === 'host') return `${address} (this machine)`
  return `${address} (${kind})`
}
