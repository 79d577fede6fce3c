/** The plan of mode vxlan: one device, and entries for every node on it, so that it neither floods nor learns. */
import { createHash } from 'node:crypto'
import { type Family, familyOf, parseCidr } from '../model/address.ts'
import { MeshError } from '../model/error.ts'
import { isWithin } from './claims.ts'
import { nodeText, type UnderlayNode } from './node.ts'
import { type Found, familyBetween, type LocalLink, leave, outside, type Plan, type UnderlayOptions } from './plan.ts'

interface VxlanInput {
  /** All nodes, those of the local cluster too. */
  readonly nodes: readonly UnderlayNode[]
  readonly links: readonly LocalLink[]
  readonly options: UnderlayOptions
  readonly found: Found
}

/** Outer Ethernet, IP, UDP and VXLAN headers (RFC 7348 section 5). */
const overhead: Readonly<Record<Family, number>> = { 4: 50, 6: 70 }

/** IPv6 needs links of this size (RFC 8200 section 5). */
const leastMtu = 1280

/** Throws UNDERLAY where this node has no usable address. */
export function vxlanPlan(
  peers: readonly UnderlayNode[],
  own: UnderlayNode,
  { nodes, links, options, found }: VxlanInput,
): Plan {
  const { device: name, vni, port } = options
  const family = familyBetween(nodes)
  const { link, address: local, bits } = outlet(own, family, links)
  const mtu = mtuOn(link, family, options)
  for (const peer of peers) {
    const networks = peer.podCidrs.flatMap(text => parseCidr(text) ?? [])
    const [network] = networks
    if (!network) continue
    const candidates = outside(peer).filter(address => familyOf(address) === family)
    const node = candidates.find(address => isWithin(address, local, bits)) ?? candidates[0]
    if (node === undefined) {
      leave(found, peer, `it has no IPv${family} address to send packets to`)
      continue
    }
    const mac = macOf(peer, vni)
    found.forwarding.push({ mac, node })
    for (const { text, at } of networks) {
      found.neighbours.push({ address: at(0), mac })
      found.routes.push({ cidr: text, via: at(0), device: name })
    }
    found.peers.push({
      cluster: peer.cluster,
      name: peer.name,
      address: node,
      networks: networks.map(({ text }) => text),
      probe: network.at(0),
      mtu,
    })
  }
  const addresses = own.podCidrs.flatMap(text => parseCidr(text) ?? []).map(hostText)
  return {
    device: { name, vni, port, local, mac: macOf(own, vni), mtu, addresses },
    ...found,
  }
}

/** Throws UNDERLAY where VXLAN does not fit. */
function mtuOn({ name, mtu }: LocalLink, family: Family, { mtu: wanted }: UnderlayOptions): number {
  const most = mtu - overhead[family]
  if (most < leastMtu) {
    const needed = `VXLAN needs ${leastMtu + overhead[family]}`
    throw new MeshError('UNDERLAY', `${name} has an MTU of ${mtu}, and ${needed}; raise it, or use mode direct`)
  }
  return Math.min(wanted ?? most, most)
}

/** The link that has an address of the node, with that address. */
function outlet(
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

function hostText({ family, at }: { readonly family: Family; at(index: number): string }): string {
  return `${at(0)}/${family === 4 ? 32 : 128}`
}

/** All nodes compute the same: a locally administered address (IEEE 802 section 8.4.2) from the name of the node. */
function macOf(node: UnderlayNode, vni: number): string {
  const [a = 0, b, c, d, e] = createHash('sha256')
    .update(`${vni} ${nodeText(node)}`)
    .digest()
  return [2, a, b, c, d, e].map(byte => Number(byte).toString(16).padStart(2, '0')).join(':')
}
