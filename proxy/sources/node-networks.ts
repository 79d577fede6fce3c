/** Joins a Node with the objects in which a CNI says which pod networks the node has. */
import type { Node } from '../model/location.ts'
import type { NetworksObject, NodeObject, ObjectRef } from './objects.ts'

export class NodeNetworks {
  readonly #nodes = new Map<string, NodeObject>()
  /** By node, then by object. */
  readonly #networks = new Map<string, Map<string, NetworksObject>>()
  /** The node of each object, by the text of its reference. */
  readonly #owners = new Map<string, string>()

  /** Returns the names of the nodes that have changed. */
  putNode(node: NodeObject): string[] {
    this.#nodes.set(node.name, node)
    return [node.name]
  }

  removeNode(name: string): string[] {
    this.#nodes.delete(name)
    return [name]
  }

  put(ref: string, object: NetworksObject): string[] {
    const { node } = object
    const changed = this.remove(ref)
    this.#owners.set(ref, node)
    const there = this.#networks.get(node)
    if (there) there.set(ref, object)
    else this.#networks.set(node, new Map([[ref, object]]))
    return [...changed, node]
  }

  remove(ref: string): string[] {
    const node = this.#owners.get(ref)
    if (node === undefined) return []
    this.#owners.delete(ref)
    const there = this.#networks.get(node)
    there?.delete(ref)
    if (there?.size === 0) this.#networks.delete(node)
    return [node]
  }

  /**
   * The node with the networks that its CNI says: those of a CiliumNode, else of Calico's blocks, else of the Node itself, which
   * kube-controller-manager may assign whether the CNI uses them or not.
   */
  node(name: string): Node | undefined {
    const node = this.#nodes.get(name)
    if (!node) return undefined
    const said = [...(this.#networks.get(name)?.values() ?? [])]
    const of = (kind: NetworksObject['kind']) =>
      said.filter(each => each.kind === kind).flatMap(({ podCidrs }) => podCidrs)
    const podCidrs = [of('CiliumNode'), of('IPAMBlock'), node.podCidrs ?? []].find(each => each.length > 0) ?? []
    const { zone, region, addresses = [], wireguardKey } = node
    return {
      name,
      ...(zone === undefined ? {} : { zone }),
      ...(region === undefined ? {} : { region }),
      ...(addresses.length > 0 && { addresses }),
      ...(podCidrs.length > 0 && { podCidrs: [...new Set(podCidrs)] }),
      ...(wireguardKey !== undefined && { wireguardKey }),
    }
  }
}

export function saysNetworks(ref: ObjectRef): ref is NetworksObject {
  return ref.kind === 'CiliumNode' || ref.kind === 'IPAMBlock'
}
