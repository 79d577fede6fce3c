/** A configuration for BIRD 2 that does what mode direct does, by BGP between the nodes. */
import { type Family, familyOf, parseCidr } from '../../model/address.ts'
import { MeshError } from '../../model/error.ts'
import { nodeText, type UnderlayNode } from '../node.ts'

/** A private AS number (RFC 6996), the same on all nodes. */
export const autonomousSystem = 64512

/** `nodes`: those that it exchanges routes with. Throws UNDERLAY if this node has no IPv4 address, which BGP takes as its identifier (RFC 4271). */
export function birdConfig(nodes: readonly UnderlayNode[], own: UnderlayNode): string {
  const id = own.addresses.find(address => familyOf(address) === 4)
  if (id === undefined)
    throw new MeshError('UNDERLAY', `node ${nodeText(own)} has no IPv4 address, which BIRD needs as router id`)
  const networks = own.podCidrs.flatMap(text => parseCidr(text) ?? [])
  return [
    `# For node ${comment(nodeText(own))}. Made by starlane underlay --print bird.`,
    `router id ${id};`,
    'protocol device {}',
    // The networks that this node is connected to: the next hops of BGP are looked up in them.
    'protocol direct { ipv4; ipv6; }',
    ...([4, 6] as const).flatMap(family =>
      familyLines(
        family,
        networks.filter(network => network.family === family).map(({ text }) => text),
        own.addresses.find(address => familyOf(address) === family),
        nodes,
      ),
    ),
    '',
  ].join('\n')
}

/** Each family has sessions of its own, so that next hops are addresses of the family. */
function familyLines(
  family: Family,
  networks: readonly string[],
  local: string | undefined,
  nodes: readonly UnderlayNode[],
): string[] {
  if (local === undefined) return []
  const peers = nodes.flatMap(node => {
    const address = node.addresses.find(address => familyOf(address) === family)
    return address === undefined ? [] : { address, text: nodeText(node) }
  })
  return [
    `protocol kernel kernel${family} { ipv${family} { import none; export where source = RTS_BGP && dest != RTD_UNREACHABLE; }; }`,
    `protocol static pods${family} {`,
    `  ipv${family} { preference 250; };`,
    ...networks.map(text => `  route ${text} unreachable;`),
    '}',
    `template bgp nodes${family} {`,
    `  local ${local} as ${autonomousSystem};`,
    `  ipv${family} { import all; export where source = RTS_STATIC; next hop self; };`,
    '}',
    ...peers.flatMap(({ address, text }, i) => [
      `# ${comment(text)}`,
      `protocol bgp node${family}x${i + 1} from nodes${family} { neighbor ${address} as ${autonomousSystem}; }`,
    ]),
  ]
}

/** Names come from other clusters. */
export const comment = (text: string): string => text.replace(/[^\w./-]/g, '?')
