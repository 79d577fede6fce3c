/** Publishes the WireGuard key of this node with its Node, so that the nodes of all clusters learn it from their sources. */
import type { KubernetesClient } from '../../clients/kubernetes/client.ts'
import { createKubernetesClient, type KubernetesWorld } from '../../clients/kubernetes/connect.ts'
import type { ClusterConfig } from '../../config/schema.ts'
import { messageOf } from '../../model/error.ts'
import { wireguardAnnotation } from '../../model/location.ts'

export class NodeKey {
  readonly #source: ClusterConfig['source'] | undefined
  readonly #world: KubernetesWorld
  readonly #closing = new AbortController()
  #client: KubernetesClient | undefined
  #publishing: Promise<void> | undefined
  #fault: string | undefined

  /** `source`: of the local cluster. */
  constructor(source: ClusterConfig['source'] | undefined, world: KubernetesWorld) {
    this.#source = source
    this.#world = world
  }

  /** Why others cannot learn the key, and what to do about it. */
  get fault(): string | undefined {
    return this.#fault
  }

  /** `recorded`: the key in the record of the node as its source reads it. Resolves when it was written, or cannot be. */
  async publish(node: string, { key, recorded }: { key: string; recorded: string | undefined }): Promise<void> {
    if (recorded === key) {
      this.#fault = undefined
      return
    }
    this.#publishing ??= this.#write(node, key).finally(() => {
      this.#publishing = undefined
    })
    await this.#publishing
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#publishing
    await this.#client?.close()
  }

  async #write(node: string, key: string): Promise<void> {
    const source = this.#source
    const annotation = `${wireguardAnnotation}: ${key}`
    if (!source || !('kubernetes' in source)) {
      this.#fault = `others cannot know its WireGuard key; add the annotation ${annotation} to the Node ${node}`
      return
    }
    this.#client ??= createKubernetesClient(source.kubernetes, this.#world)
    const value = { metadata: { annotations: { [wireguardAnnotation]: key } } }
    const body = { type: 'application/merge-patch+json', value }
    const path = `/api/v1/nodes/${encodeURIComponent(node)}`
    try {
      await this.#client.json({ method: 'PATCH', path, body }, this.#closing.signal)
      this.#fault = undefined
      this.#world.log.info('underlay.key', { node, key })
    } catch (error) {
      if (this.#closing.signal.aborted) return
      const rule = '{apiGroups: [""], resources: [nodes], verbs: [patch]}'
      this.#fault = `its WireGuard key cannot be published: ${messageOf(error)}; its role needs ${rule}, or add ${annotation} yourself`
    }
  }
}
