/** Works out the plan: a pure function of the list of nodes and of what the machine has. */
import { type LeftOut, withoutConnected, withoutOverlaps } from './claims.ts'
import { directPlan } from './direct.ts'
import { encapsulatedPlan } from './encapsulated.ts'
import { nodeText, type UnderlayNode } from './node.ts'
import { type Found, leave, type Plan, peersOf, type UnderlayOptions } from './plan.ts'
import type { Present } from './present.ts'
import { wireguardPlan } from './wireguard/plan.ts'

/**
 * `nodes`: those of the local cluster first, then in the order of the configuration; of two that overlap the first counts. What cannot be
 * reached is left out, with the reason. `publicKey`: of this node, for mode wireguard. Throws UNDERLAY where this node has no usable address.
 */
export function planUnderlay(
  all: readonly UnderlayNode[],
  own: UnderlayNode,
  present: Present,
  options: UnderlayOptions,
  publicKey = '',
): Plan {
  const { nodes, leftOut } = withoutOverlaps(all)
  const links = present.links.filter(({ name }) => name !== options.device)
  const connected = links.flatMap(({ name, addresses }) => addresses.map(each => ({ device: name, ...each })))
  const itself = nodes.find(node => nodeText(node) === nodeText(own)) ?? own
  const found: Found = {
    ...{ neighbours: [], forwarding: [], routes: [], peers: [], leftOut },
    own: [...itself.podCidrs],
    inside: nodes.flatMap(({ podCidrs, addresses }) => [...podCidrs, ...addresses]),
  }
  const peers = peersOf(nodes, own, options.within).map(peer => {
    const checked = withoutForeign(withoutConnected(peer, connected), present)
    found.leftOut.push(...checked.leftOut)
    return checked.node
  })
  for (const peer of peersOf(all, own, options.within)) {
    if (peer.podCidrs.length === 0) leave(found, peer, 'its pod network is not known')
  }
  const { mode } = options
  if (mode === 'wireguard') return wireguardPlan(peers, itself, { nodes, links, options, found, publicKey })
  if (mode === 'direct') return directPlan(peers, { links, found })
  return encapsulatedPlan(peers, itself, { kind: mode, nodes, links, options, found })
}

/** Without the networks to which somebody else has set a route: the kernel would take theirs away, or use it. */
function withoutForeign(
  { node, leftOut }: { node: UnderlayNode; leftOut: LeftOut[] },
  { foreign }: Present,
): { node: UnderlayNode; leftOut: LeftOut[] } {
  const podCidrs = node.podCidrs.filter(cidr => {
    const route = foreign.get(cidr)
    if (!route) return true
    const by = `dev ${route.device || 'of several'}, protocol ${route.protocol}`
    const why = `there is a route to ${cidr} already (${by}); remove it, or leave this network to what has set it`
    leftOut.push({ node: nodeText(node), why })
    return false
  })
  return { node: { ...node, podCidrs }, leftOut }
}
