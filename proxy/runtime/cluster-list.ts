/** The current list of clusters: those of the configuration, and those with a client file in `clustermesh.folder`. */
import type { ClusterConfig, Config } from '../config/schema.ts'
import { defaultLimits } from '../model/cluster.ts'
import type { MeshError, Problem } from '../model/error.ts'
import type { Clock } from '../model/time/clock.ts'
import { watchClusterFolder } from '../sources/etcd/cluster-folder.ts'

export class ClusterList {
  #config: Config
  #clock: Clock
  #changed: () => void
  #found: ReadonlyMap<string, string> = new Map()
  #skipped: readonly Problem[] = []
  #failure: MeshError | undefined
  #stop: () => void = nothing

  /** `changed` is called when the clusters in the folder have changed. */
  constructor(config: Config, clock: Clock, changed: () => void) {
    this.#config = config
    this.#clock = clock
    this.#changed = changed
  }

  get clusters(): readonly ClusterConfig[] {
    const { clusters, clustermesh: { prefer, allow } = { prefer: 'services' as const, allow: {} } } = this.#config
    const named = new Set(clusters.map(({ name }) => name))
    const found = [...this.#found].filter(([name]) => !named.has(name))
    // Id 0: the cluster-config in its etcd has the id.
    return [
      ...clusters,
      ...found.map(([name, config]) => ({
        name,
        id: 0,
        source: { etcd: { config, prefer } },
        allow: { loopback: undefined, cidrs: undefined, namespaces: undefined, services: undefined, ...allow },
        tenant: undefined,
        route: 'direct' as const,
        gateways: [],
        trustDomain: undefined,
        identities: [],
        hbone: 'single' as const,
        workloads: [],
        globalNamespaces: 'all' as const,
        limits: defaultLimits,
      })),
    ]
  }

  problems(): Problem[] {
    const where = this.#config.clustermesh?.folder ?? ''
    return this.#failure ? [{ code: 'SOURCE_READ', where, message: this.#failure.message }] : [...this.#skipped]
  }

  /** Applies a new configuration. Resolves once the folder, if there is one, has been read. */
  async follow(config: Config): Promise<void> {
    const before = this.#config.clustermesh?.folder
    const folder = config.clustermesh?.folder
    this.#config = config
    if (folder === undefined || (folder !== before && before !== undefined)) this.#forget()
    if (folder === undefined || this.#stop !== nothing) return
    const { promise: read, resolve } = Promise.withResolvers<void>()
    this.#stop = watchClusterFolder(folder, {
      own: config.cluster,
      clock: this.#clock,
      listener: {
        changed: (clusters, skipped) => {
          this.#found = clusters
          this.#skipped = skipped
          this.#failure = undefined
          resolve()
          this.#changed()
        },
        failed: error => {
          this.#failure = error
          resolve()
        },
      },
    })
    await read
  }

  close(): void {
    this.#stop()
  }

  #forget(): void {
    this.#stop()
    this.#stop = nothing
    this.#found = new Map()
    this.#skipped = []
    this.#failure = undefined
  }
}

const nothing = (): void => {}
