/** The underlay of every node of a world, in this process: the kernel is that of each node's namespace. */
import { createIpRoute } from '../../../proxy/underlay/iproute.ts'
import { createNft } from '../../../proxy/underlay/masquerade.ts'
import type { UnderlayNode } from '../../../proxy/underlay/node.ts'
import type { UnderlayOptions } from '../../../proxy/underlay/plan.ts'
import { Underlay } from '../../../proxy/underlay/underlay.ts'
import type { NodeMachine, UnderlayWorld } from './machines.ts'

export const vxlan: UnderlayOptions = {
  ...{ mode: 'vxlan', device: 'starlane-vx', vni: 7171, port: 4789, within: false, masquerade: false },
}

export const nodeOf = ({ cluster, name, addresses, networks, key }: NodeMachine): UnderlayNode => ({
  ...{ cluster, name, addresses },
  podCidrs: networks,
  ...(key !== undefined && { wireguardKey: key }),
})

export function underlayOf(node: NodeMachine, options = vxlan, iproute = createIpRoute(node.machine.prefix)): Underlay {
  const nft = createNft(node.machine.prefix)
  return new Underlay({ options, cluster: node.cluster, node: undefined, iproute, nft })
}

/** Every node knows the nodes of the list, its own cluster first. */
export async function applyAll(
  world: UnderlayWorld,
  { options = vxlan, nodes = world.nodes }: { options?: UnderlayOptions; nodes?: readonly NodeMachine[] } = {},
) {
  return Promise.all(nodes.map(async node => underlayOf(node, options).apply(listFor(node, nodes))))
}

export function listFor(own: NodeMachine, nodes: readonly NodeMachine[]): UnderlayNode[] {
  return [...nodes].sort((a, b) => Number(b.cluster === own.cluster) - Number(a.cluster === own.cluster)).map(nodeOf)
}

/** What a machine has of links, addresses, permanent entries and routes, as text, without what follows from the state of links. */
export async function stateOf({ machine }: NodeMachine): Promise<string> {
  const all = await machine.do('ip -br addr; ip neigh show nud permanent; ip -4 route; ip -6 route')
  return all
    .replace(/ (UP|DOWN|UNKNOWN|LOWERLAYERDOWN) +/g, ' ')
    .replace(/ *fe80:[^\s]*\/64 ?/g, ' ')
    .split('\n')
    .filter(line => !line.startsWith('fe80::/64') && line.trim() !== '')
    .map(line => line.trim())
    .join('\n')
}
