import type { Config } from '../config/schema.ts'
import type { Mesh } from '../mesh/mesh.ts'
import { heartbeatKey } from '../model/clustermesh.ts'
import type { Problem } from '../model/error.ts'
import { followDirectory } from '../publish/follow.ts'
import { createPublisher, type Publisher } from '../publish/publisher.ts'
import { connectEtcd } from '../sources/etcd/connect.ts'
import type { FeedParts } from './feeds.ts'

/** Publishes what the local cluster shares, where the configuration says so; without that it does nothing. */
export class Publication {
  readonly #mesh: Mesh
  readonly #parts: FeedParts
  readonly #publisher: Publisher | undefined
  #unfollow: () => void = () => {}

  constructor({ publish, cluster, clusters }: Config, mesh: Mesh, parts: FeedParts) {
    this.#mesh = mesh
    this.#parts = parts
    if (!publish) return
    const { slices, lease, rate, ...servers } = publish
    const { clock, random, log } = parts
    const clusterId = clusters.find(({ name }) => name === cluster)?.id ?? 0
    const open = (signal: AbortSignal) => connectEtcd(servers, { probe: heartbeatKey, clock, random, signal })
    this.#publisher = createPublisher(
      { cluster, clusterId, slices, leaseMs: lease, writesPerSecond: rate },
      { open, clock, random, log },
    )
  }

  start(): void {
    if (!this.#publisher) return
    this.#publisher.start()
    this.#unfollow = followDirectory(this.#mesh.directory, this.#publisher, {
      isGlobalNamespace: name => this.#mesh.isGlobalNamespace(name),
      clock: this.#parts.clock,
    })
  }

  /** What cannot be published, and why. */
  problems(): readonly Problem[] {
    return this.#publisher?.problems() ?? []
  }

  async close(): Promise<void> {
    this.#unfollow()
    await this.#publisher?.close()
  }
}
