/**
 * The plan of modes vxlan and geneve: one device, which neither floods nor learns. With VXLAN the node behind a hardware address is an entry
 * of the device; with Geneve, whose device has no such entries, the route to each network names the node (ip-route(8), "encap ip").
 */
import { createHash } from 'node:crypto'
import { type Family, parseCidr } from '../model/address.ts'
import { nodeText, type UnderlayNode } from './node.ts'
import { addressOf, hostText, mtuOn, outlet } from './outlet.ts'
import { type Found, familyBetween, type LocalLink, leave, type Plan, type UnderlayOptions } from './plan.ts'

interface EncapsulatedInput {
  readonly kind: 'vxlan' | 'geneve'
  /** All nodes, those of the local cluster too. */
  readonly nodes: readonly UnderlayNode[]
  readonly links: readonly LocalLink[]
  readonly options: UnderlayOptions
  readonly found: Found
}

/** Inner Ethernet, outer IP and UDP headers, and that of VXLAN (RFC 7348 section 5) or Geneve without options (RFC 8926 section 3.4). */
const overhead: Readonly<Record<Family, number>> = { 4: 50, 6: 70 }

const names = { vxlan: 'VXLAN', geneve: 'Geneve' } as const

/** Throws UNDERLAY where this node has no usable address. */
export function encapsulatedPlan(
  peers: readonly UnderlayNode[],
  own: UnderlayNode,
  { kind, nodes, links, options, found }: EncapsulatedInput,
): Plan {
  const { device: name, vni, port } = options
  const family = familyBetween(nodes)
  const { link, address: local, bits } = outlet(own, family, links)
  const mtu = mtuOn(link, overhead[family], options, names[kind])
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
    if (kind === 'vxlan') found.forwarding.push({ mac, node })
    const within = kind === 'geneve' ? { within: { vni, local, node } } : {}
    for (const { text, at } of networks) {
      found.neighbours.push({ address: at(0), mac })
      found.routes.push({ cidr: text, via: at(0), device: name, ...within })
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
  const device = { name, vni, port, local, mac: macOf(own, vni), mtu, addresses }
  return { device: { kind, ...device }, ...found }
}

/** All nodes compute the same: a locally administered address (IEEE 802 section 8.4.2) from the name of the node. */
function macOf(node: UnderlayNode, vni: number): string {
  const [a = 0, b, c, d, e] = createHash('sha256')
    .update(`${vni} ${nodeText(node)}`)
    .digest()
  return [2, a, b, c, d, e].map(byte => Number(byte).toString(16).padStart(2, '0')).join(':')
}
