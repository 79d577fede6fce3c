/** Where packets between nodes leave this one: the link with its address, what fits through it, and which address of a peer they go to. */
import { type Family, familyOf } from '../model/address.ts'
import { MeshError } from '../model/error.ts'
import { isWithin } from './claims.ts'
import { nodeText, type UnderlayNode } from './node.ts'
import { type LocalLink, outside, type UnderlayOptions } from './plan.ts'

/** IPv6 needs links of this size (RFC 8200 section 5). */
const leastMtu = 1280

/** What is left for packets of pods, in bytes. Throws UNDERLAY where that is too little. */
export function mtuOn(
  { name, mtu }: LocalLink,
  overhead: number,
  { mtu: wanted }: UnderlayOptions,
  what: string,
): number {
  const most = mtu - overhead
  if (most < leastMtu) {
    const needed = `${what} needs ${leastMtu + overhead}`
    throw new MeshError('UNDERLAY', `${name} has an MTU of ${mtu}, and ${needed}; raise it, or use mode direct`)
  }
  return Math.min(wanted ?? most, most)
}

/** The link that has an address of the node, with that address. Throws UNDERLAY if there is none. */
export function outlet(
  own: UnderlayNode,
  family: Family,
  links: readonly LocalLink[],
): { link: LocalLink; address: string; bits: number } {
  for (const address of outside(own).filter(each => familyOf(each) === family)) {
    for (const link of links) {
      const there = link.addresses.find(each => each.address === address)
      if (there) return { link, ...there }
    }
  }
  const listed = own.addresses.length > 0 ? `the addresses ${own.addresses.join(', ')}` : 'no addresses'
  const found = `node ${nodeText(own)} has ${listed}, and this machine has none of them in IPv${family}`
  throw new MeshError('UNDERLAY', `${found}; name this node with --node, or correct its addresses`)
}

/** The address that packets to a peer are sent to: one in the network of the own address, if it has one there. */
export function addressOf(
  peer: UnderlayNode,
  family: Family,
  { local, bits }: { readonly local: string; readonly bits: number },
): string | undefined {
  const candidates = outside(peer).filter(address => familyOf(address) === family)
  return candidates.find(address => isWithin(address, local, bits)) ?? candidates[0]
}

/** `10.1.1.0/32`: the first address of a network. */
export function hostText({ family, at }: { readonly family: Family; at(index: number): string }): string {
  return `${at(0)}/${family === 4 ? 32 : 128}`
}
