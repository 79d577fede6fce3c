/** The plan of mode vxlan: one device, and entries for every node on it, so that it neither floods nor learns. */
import { createHash } from 'node:crypto'
import { type Family, parseCidr } from '../model/address.ts'
import { nodeText, type UnderlayNode } from './node.ts'
import { addressOf, hostText, mtuOn, outlet } from './outlet.ts'
import { type Found, familyBetween, type LocalLink, leave, type Plan, type UnderlayOptions } from './plan.ts'

interface VxlanInput {
  /** All nodes, those of the local cluster too. */
  readonly nodes: readonly UnderlayNode[]
  readonly links: readonly LocalLink[]
  readonly options: UnderlayOptions
  readonly found: Found
}

/** Outer Ethernet, IP, UDP and VXLAN headers (RFC 7348 section 5). */
const overhead: Readonly<Record<Family, number>> = { 4: 50, 6: 70 }

/** Throws UNDERLAY where this node has no usable address. */
export function vxlanPlan(
  peers: readonly UnderlayNode[],
  own: UnderlayNode,
  { nodes, links, options, found }: VxlanInput,
): Plan {
  const { device: name, vni, port } = options
  const family = familyBetween(nodes)
  const { link, address: local, bits } = outlet(own, family, links)
  const mtu = mtuOn(link, overhead[family], options, 'VXLAN')
  for (const peer of peers) {
    const networks = peer.podCidrs.flatMap(text => parseCidr(text) ?? [])
    const [network] = networks
    if (!network) continue
    const node = addressOf(peer, family, { local, bits })
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
    device: { kind: 'vxlan', name, vni, port, local, mac: macOf(own, vni), mtu, addresses },
    ...found,
  }
}

/** All nodes compute the same: a locally administered address (IEEE 802 section 8.4.2) from the name of the node. */
function macOf(node: UnderlayNode, vni: number): string {
  const [a = 0, b, c, d, e] = createHash('sha256')
    .update(`${vni} ${nodeText(node)}`)
    .digest()
  return [2, a, b, c, d, e].map(byte => Number(byte).toString(16).padStart(2, '0')).join(':')
}
