/** One source per cluster, started, replaced and ended as the configuration says. */
import { isDeepStrictEqual } from 'node:util'
import type { ClusterConfig, SourceConfig } from '../config/schema.ts'
import type { Mesh } from '../mesh/mesh.ts'
import { MeshError } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import { createEtcdSource } from '../sources/etcd/etcd-source.ts'
import { createKubernetesSource } from '../sources/kubernetes/kubernetes-source.ts'
import { createManifestsSource } from '../sources/manifests/manifests-source.ts'
import type { Facts, Source } from '../sources/source.ts'

export interface FeedParts {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly env: Readonly<Record<string, string | undefined>>
}

interface SourceParts extends FeedParts {
  readonly pods: boolean
  readonly admit: (id: number) => void
}

interface Feed {
  /** 0 when only the cluster itself can say it. */
  readonly id: number
  readonly config: SourceConfig
  /** Whether the cluster's Pods are asked for. */
  readonly pods: boolean
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

  /**
   * Sources whose configuration is the same go on; a changed one is replaced, and its first picture replaces the old one's.
   * `podsOf` names the cluster whose Pods count, if any do.
   */
  async follow(clusters: readonly ClusterConfig[], podsOf?: string): Promise<void> {
    const wantsPods = ({ name, source }: ClusterConfig) => name === podsOf && 'kubernetes' in source
    const isSame = (cluster: ClusterConfig, feed: Feed) =>
      isDeepStrictEqual(cluster.source, feed.config) && wantsPods(cluster) === feed.pods
    const leaving = [...this.#feeds].filter(
      ([name, feed]) => !clusters.some(cluster => cluster.name === name && isSame(cluster, feed)),
    )
    for (const [name] of leaving) this.#feeds.delete(name)
    await Promise.all(leaving.map(([, feed]) => feed.source.close()))
    for (const cluster of clusters) {
      const { name } = cluster
      if (this.#feeds.has(name)) continue
      const pods = wantsPods(cluster)
      const source = createSource(cluster, { ...this.#parts, pods, admit: id => this.#admit(name, id) })
      this.#feeds.set(name, { id: cluster.id, config: cluster.source, pods, source })
      source.start(this.#mesh.sink(name))
    }
  }

  async close(): Promise<void> {
    await this.follow([])
  }

  /** What else the source of a cluster knows. */
  facts(cluster: string): Facts {
    return this.#feeds.get(cluster)?.source.facts?.() ?? {}
  }

  /** A number that another cluster has is refused, and the one who had it first goes on (Cilium 2.1). */
  #admit(cluster: string, id: number): void {
    const other = [...this.#feeds].find(([name, { id: given, source }]) => {
      return name !== cluster && (given === id || source.facts?.().id === id)
    })
    if (!other) return
    const message = `${cluster} says its id is ${id}, which is that of ${other[0]}; give one of them another`
    throw new MeshError('SOURCE_READ', message)
  }
}

function createSource(
  { name: cluster, id, source }: ClusterConfig,
  { clock, random, log, env, pods, admit }: SourceParts,
): Source {
  if ('manifests' in source) return createManifestsSource(source.manifests, { cluster, clock, log })
  if ('kubernetes' in source) {
    return createKubernetesSource({ cluster, pods, ...source.kubernetes }, { clock, random, log, env })
  }
  return createEtcdSource({ cluster, id: id === 0 ? undefined : id, admit, ...source.etcd }, { clock, random, log })
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
