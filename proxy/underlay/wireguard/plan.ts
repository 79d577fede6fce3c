/** The plan of mode wireguard: one device, on which every node is a peer with its key, and a route for each pod network. */
import { parseCidr } from '../../model/address.ts'
import { nodeText, type UnderlayNode } from '../node.ts'
import { addressOf, hostText, mtuOn, outlet } from '../outlet.ts'
import { type Found, familyBetween, type LocalLink, leave, type Plan, type UnderlayOptions } from '../plan.ts'

interface WireguardInput {
  /** All nodes, those of the local cluster first: of two with the same key the first has it. */
  readonly nodes: readonly UnderlayNode[]
  readonly links: readonly LocalLink[]
  readonly options: UnderlayOptions
  readonly found: Found
  readonly publicKey: string
}

/** Outer IP and UDP headers, 16 bytes of message header and 16 of authentication tag (WireGuard's paper, section 5.4.6). */
const overhead = { 4: 60, 6: 80 } as const

/** Throws UNDERLAY where this node has no usable address. */
export function wireguardPlan(
  peers: readonly UnderlayNode[],
  own: UnderlayNode,
  { nodes, links, options, found, publicKey }: WireguardInput,
): Plan {
  const { device: name, port, keyFile = '' } = options
  const family = familyBetween(nodes)
  const { link, address: local, bits } = outlet(own, family, links)
  const mtu = mtuOn(link, overhead[family], options, 'WireGuard')
  const owners = new Map([[publicKey, nodeText(own)]])
  for (const node of nodes) {
    const { wireguardKey: key } = node
    if (key !== undefined && !owners.has(key)) owners.set(key, nodeText(node))
  }
  const devicePeers = peers.flatMap(peer => {
    const networks = peer.podCidrs.flatMap(text => parseCidr(text) ?? [])
    const [network] = networks
    if (!network) return []
    const { wireguardKey: key } = peer
    if (key === undefined) {
      leave(found, peer, 'its record has no WireGuard key; see docs/underlay.md, "Encryption"')
      return []
    }
    const owner = owners.get(key)
    if (owner !== nodeText(peer)) {
      leave(found, peer, `its WireGuard key is that of ${owner}; make a new one`)
      return []
    }
    const node = addressOf(peer, family, { local, bits })
    if (node === undefined) {
      leave(found, peer, `it has no IPv${family} address to send packets to`)
      return []
    }
    for (const { text } of networks) found.routes.push({ cidr: text, via: '', device: name })
    const texts = networks.map(({ text }) => text)
    const named = { cluster: peer.cluster, name: peer.name }
    found.peers.push({ ...named, address: node, networks: texts, probe: network.at(0), mtu })
    return [{ key, address: node, port, allowed: texts, others: peer.addresses }]
  })
  const addresses = own.podCidrs.flatMap(text => parseCidr(text) ?? []).map(hostText)
  return {
    device: { kind: 'wireguard', name, port, mtu, addresses, publicKey, keyFile, peers: devicePeers },
    ...found,
  }
}
