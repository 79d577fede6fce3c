/** The nodes of all clusters, as their sources report them. */
import type { Node } from '../model/location.ts'
import type { Sink } from '../model/sink.ts'

/** A node with the cluster that it belongs to. Addresses are canonical; networks are `10.1.3.0/24`. */
export interface UnderlayNode {
  readonly cluster: string
  readonly name: string
  readonly addresses: readonly string[]
  readonly podCidrs: readonly string[]
  readonly wireguardKey?: string
}

/** `cluster-1/node-a`. */
export function nodeText({ cluster, name }: { readonly cluster: string; readonly name: string }): string {
  return `${cluster}/${name}`
}

interface ClusterNodes {
  readonly nodes: Map<string, UnderlayNode>
  /** Its source has answered. */
  isRead: boolean
  failure: string | undefined
}

/** Collects the nodes of each cluster. A cluster that is lost keeps the nodes that were known last. */
export class NodeTable {
  /** In the order in which they win. */
  #clusters = new Map<string, ClusterNodes>()
  #onChange: () => void

  constructor(onChange: () => void) {
    this.#onChange = onChange
  }

  /** Those that stay keep their nodes. */
  setClusters(names: readonly string[]): void {
    const before = this.#clusters
    this.#clusters = new Map(
      names.map(name => [name, before.get(name) ?? { nodes: new Map(), isRead: false, failure: undefined }]),
    )
    if ([...before.keys()].join() !== names.join()) this.#onChange()
  }

  /** The clusters as given, the nodes of each by name. */
  nodes(): UnderlayNode[] {
    return [...this.#clusters.values()].flatMap(({ nodes }) =>
      [...nodes.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)),
    )
  }

  /** The clusters that have not answered yet. */
  waiting(): string[] {
    return [...this.#clusters].flatMap(([name, { isRead }]) => (isRead ? [] : name))
  }

  /** Why a cluster does not answer. */
  failureOf(cluster: string): string | undefined {
    return this.#clusters.get(cluster)?.failure
  }

  /** `admit` takes away what the cluster may not claim. What comes for a cluster that is not in the list has no effect. */
  sink(cluster: string, admit: (node: UnderlayNode) => UnderlayNode): Sink {
    const put = (known: ClusterNodes, { name, addresses = [], podCidrs = [], wireguardKey }: Node) =>
      void known.nodes.set(
        name,
        admit({ cluster, name, addresses, podCidrs, ...(wireguardKey !== undefined && { wireguardKey }) }),
      )
    const change = (work: (known: ClusterNodes) => void) => {
      const known = this.#clusters.get(cluster)
      if (!known) return
      work(known)
      this.#onChange()
    }
    const failed = (failure: string | undefined) => {
      const known = this.#clusters.get(cluster)
      if (known) known.failure = failure
    }
    const ignored = () => {}
    return {
      reset: ({ nodes = [] }) =>
        change(known => {
          known.nodes.clear()
          for (const node of nodes) put(known, node)
          known.isRead = true
          known.failure = undefined
        }),
      recall: ({ nodes = [] }) =>
        change(known => {
          if (!known.isRead) for (const node of nodes) put(known, node)
        }),
      putNode: node => change(known => put(known, node)),
      dropNode: name => change(known => known.nodes.delete(name)),
      live: () => failed(undefined),
      lost: error => failed(error.message),
      ...{ put: ignored, drop: ignored, putNamespace: ignored, dropNamespace: ignored },
      ...{ putPod: ignored, dropPod: ignored, problems: ignored },
    }
  }
}
