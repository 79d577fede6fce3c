/** Which of the nodes this machine is. */
import { MeshError } from '../model/error.ts'
import { nodeText, type UnderlayNode } from './node.ts'
import type { LocalLink } from './plan.ts'

export interface OwnHints {
  /** The local cluster. */
  readonly cluster: string
  /** The name or an address of the node, if it was given. */
  readonly node: string | undefined
  readonly links: readonly LocalLink[]
}

/** By what was given, else by the addresses of this machine. Throws UNDERLAY if there is none or more than one. */
export function ownNode(nodes: readonly UnderlayNode[], { cluster, node: given, links }: OwnHints): UnderlayNode {
  const local = nodes.filter(node => node.cluster === cluster)
  const addresses = new Set(links.flatMap(link => link.addresses.map(({ address }) => address)))
  const found =
    given === undefined
      ? local.filter(node => node.addresses.some(address => addresses.has(address)))
      : local.filter(node => node.name === given || node.addresses.includes(given))
  const [own, other] = found
  if (own && !other) return own
  const names = local.map(({ name }) => name).slice(0, 5)
  const known = names.length > 0 ? `; it has ${names.join(', ')}${local.length > names.length ? ' and more' : ''}` : ''
  if (given !== undefined)
    throw new MeshError('UNDERLAY', `cluster ${cluster} has no node with the name or address ${given}${known}`)
  const what = own && other ? `both ${nodeText(own)} and ${nodeText(other)} have` : `no node of cluster ${cluster} has`
  throw new MeshError('UNDERLAY', `${what} an address of this machine${known}; name the node with --node`)
}
