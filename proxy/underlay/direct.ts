/** The plan of mode direct: a route for each pod network through the node that has it, where both are on one link. */
import { type Family, familyOf, parseCidr } from '../model/address.ts'
import { isWithin } from './claims.ts'
import type { UnderlayNode } from './node.ts'
import { type Found, type LocalLink, leave, outside, type Plan } from './plan.ts'

export function directPlan(
  peers: readonly UnderlayNode[],
  { links, found }: { readonly links: readonly LocalLink[]; readonly found: Found },
): Plan {
  for (const peer of peers) {
    const networks: string[] = []
    let first: Hop | undefined
    for (const { text, family } of peer.podCidrs.flatMap(cidr => parseCidr(cidr) ?? [])) {
      const hop = hopTo(outside(peer), family, links)
      if (hop) {
        found.routes.push({ cidr: text, via: hop.via, device: hop.link.name })
        networks.push(text)
        first ??= hop
      } else {
        const why = `no IPv${family} address of it is on a link of this node, so ${text} has no route`
        leave(found, peer, `${why}; use mode vxlan, or a routing daemon (--print bird)`)
      }
    }
    if (first) {
      const { via, link } = first
      found.peers.push({ cluster: peer.cluster, name: peer.name, address: via, networks, probe: via, mtu: link.mtu })
    }
  }
  return { device: undefined, ...found }
}

interface Hop {
  readonly via: string
  readonly link: LocalLink
}

function hopTo(addresses: readonly string[], family: Family, links: readonly LocalLink[]): Hop | undefined {
  for (const via of addresses.filter(address => familyOf(address) === family)) {
    const link = links.find(each => each.addresses.some(({ address, bits }) => isWithin(via, address, bits)))
    if (link) return { via, link }
  }
  return undefined
}
