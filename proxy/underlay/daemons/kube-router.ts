/** What kube-router needs to do what mode direct does: arguments, and a patch for the Node, by which it has BGP sessions with other clusters. */
import { stringify } from 'yaml'
import { familyOf } from '../../model/address.ts'
import { MeshError } from '../../model/error.ts'
import { nodeText, type UnderlayNode } from '../node.ts'
import { autonomousSystem, comment } from './bird.ts'

/**
 * `nodes`: those that it exchanges routes with; the nodes of its own cluster kube-router finds itself. Throws UNDERLAY if this node has no
 * IPv4 address, which kube-router needs as router id.
 */
export function kubeRouterConfig(nodes: readonly UnderlayNode[], own: UnderlayNode): string {
  const families = new Set(own.addresses.map(familyOf))
  if (!families.has(4))
    throw new MeshError('UNDERLAY', `node ${nodeText(own)} has no IPv4 address, which kube-router needs as router id`)
  const peers = nodes
    .filter(({ cluster }) => cluster !== own.cluster)
    .flatMap(({ addresses }) => ([4, 6] as const).flatMap(family => addressOf(addresses, family)))
    .filter(address => families.has(familyOf(address)))
  const annotations = {
    'kube-router.io/peers': stringify(
      peers.map(address => ({ remoteip: address, remoteasn: autonomousSystem })),
      { lineWidth: 0 },
    ),
    'kube-router.io/peer.ips': peers.join(','),
    'kube-router.io/peer.asns': peers.map(() => autonomousSystem).join(','),
  }
  return [
    `# For node ${comment(nodeText(own))}. Made by starlane underlay --print kube-router.`,
    '# kube-router reads the annotations when it starts: apply this with kubectl patch node NAME --patch-file FILE, then restart its pod there.',
    '# Versions that do not know kube-router.io/peers take the other two. Its DaemonSet needs these arguments:',
    ...Object.entries(argumentsOf).map(([argument, why]) => `#   ${argument.padEnd(28)} ${why}`),
    stringify({ metadata: { annotations } }, { lineWidth: 0 }),
  ].join('\n')
}

const argumentsOf = {
  '--run-router=true': 'it exchanges routes',
  [`--cluster-asn=${autonomousSystem}`]: 'the AS of the nodes of all clusters',
  '--advertise-pod-cidr=true': "the node's pod network is announced to other clusters too",
  '--override-nexthop=true': 'the way there leads through this node',
  '--enable-overlay=false':
    'packets to nodes of other networks are not put into IP-in-IP, which only kube-router takes',
  '--enable-pod-egress=false': 'pods keep their addresses towards other clusters',
}

function addressOf(addresses: readonly string[], family: 4 | 6): string[] {
  return addresses.filter(address => familyOf(address) === family).slice(0, 1)
}
