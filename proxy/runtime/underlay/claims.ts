/** What a cluster may claim of the network: its word is not taken for everything. */
import { type Cidr, parseCidr } from '../../model/address.ts'
import type { UnderlayNode } from '../../underlay/node.ts'

/** Larger than the pod network of one node: not believed. */
const minBits = { 4: 16, 6: 48 } as const

/** The node without pod networks that are too large, or outside of `cidrs`; all may be claimed where that is absent. */
export function believed(node: UnderlayNode, cidrs: readonly Cidr[] | undefined): UnderlayNode {
  const isIn = (range: Cidr) =>
    !cidrs || cidrs.some(cidr => cidr.bits <= range.bits && cidr.family === range.family && cidr.contains(range.at(0)))
  const podCidrs = node.podCidrs.filter(text => {
    const range = parseCidr(text)
    return range && range.bits >= minBits[range.family] && isIn(range)
  })
  return { ...node, podCidrs }
}
