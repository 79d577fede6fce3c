/** One source per cluster, started, replaced and ended as the configuration says. */
import { isDeepStrictEqual } from 'node:util'
import type { ClusterConfig, SourceConfig } from '../config/schema.ts'
import type { Mesh } from '../mesh/mesh.ts'
import type { Clock, Random } from '../model/clock.ts'
import type { Log } from '../model/log.ts'
import { createEtcdSource } from '../sources/etcd/etcd-source.ts'
import { createKubernetesSource } from '../sources/kubernetes.ts'
import { createManifestsSource } from '../sources/manifests.ts'
import type { Source } from '../sources/source.ts'

export interface FeedParts {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly env: Readonly<Record<string, string | undefined>>
}

interface Feed {
  readonly config: SourceConfig
  readonly source: Source
}

export class Feeds {
  #mesh: Mesh
  #parts: FeedParts
  #feeds = new Map<string, Feed>()

  constructor(mesh: Mesh, parts: FeedParts) {
    this.#mesh = mesh
    this.#parts = parts
  }

  /** Sources whose configuration is the same go on; a changed one is replaced, and its first picture replaces the old one's. */
  async follow(clusters: readonly ClusterConfig[]): Promise<void> {
    const leaving = [...this.#feeds].filter(
      ([name, feed]) =>
        !clusters.some(cluster => cluster.name === name && isDeepStrictEqual(cluster.source, feed.config)),
    )
    for (const [name] of leaving) this.#feeds.delete(name)
    await Promise.all(leaving.map(([, feed]) => feed.source.close()))
    for (const cluster of clusters) {
      const { name } = cluster
      if (this.#feeds.has(name)) continue
      const source = createSource(cluster, this.#parts)
      this.#feeds.set(name, { config: cluster.source, source })
      source.start(this.#mesh.sink(name))
    }
  }

  async close(): Promise<void> {
    await this.follow([])
  }
}

function createSource({ name: cluster, id, source }: ClusterConfig, { clock, random, log, env }: FeedParts): Source {
  if ('manifests' in source) return createManifestsSource(source.manifests, { cluster, clock, log })
  if ('kubernetes' in source) {
    return createKubernetesSource({ cluster, ...source.kubernetes }, { clock, random, log, env })
  }
  return createEtcdSource({ cluster, id, ...source.etcd }, { clock, random, log })
}

/** `manifests conf/demo/cluster-1`, as status shows it. */
export function sourceText(config: SourceConfig): string {
  if ('manifests' in config) return `manifests ${config.manifests}`
  if ('etcd' in config) return `etcd ${'config' in config.etcd ? config.etcd.config : config.etcd.endpoints.join(', ')}`
  const { kubernetes } = config
  return 'inCluster' in kubernetes
    ? 'kubernetes in-cluster'
    : `kubernetes ${kubernetes.context ?? kubernetes.kubeconfig ?? 'current context'}`
}
