/** One running source per cluster: started, replaced and closed as the list of clusters changes. */
import { isDeepStrictEqual } from 'node:util'
import type { Admission } from '../../admission/admission.ts'
import type { ClusterRights } from '../../admission/cluster-rights.ts'
import type { SharedConnections } from '../../clients/etcd/connect.ts'
import type { ClusterConfig, SourceConfig } from '../../config/schema.ts'
import type { Mesh } from '../../mesh/mesh.ts'
import type { Cluster, Limits } from '../../model/cluster.ts'
import { MeshError } from '../../model/error.ts'
import type { Sink } from '../../model/sink.ts'
import { Turns } from '../../model/time/turn.ts'
import { createEtcdSource } from '../../sources/etcd/etcd-source.ts'
import { createKubernetesSource } from '../../sources/kubernetes/kubernetes-source.ts'
import { createManifestsSource } from '../../sources/manifests/manifests-source.ts'
import type { Facts, Source } from '../../sources/source.ts'
import type { StateStore } from '../../state/state-store.ts'
import type { WorkloadStore } from '../../workloads/store.ts'
import type { RuntimeContext } from '../context.ts'
import { clustersOf } from '../options.ts'
import type { LearnedGateways } from '../tunnel/learned-gateways.ts'
import { PodDemand } from './pod-demand.ts'
import { bothSinks, withNodes } from './sinks.ts'

export interface SourceParts extends RuntimeContext, Extras {
  readonly connections: SharedConnections
  readonly local: boolean
  readonly maxClusters: number
  readonly admit: (id: number) => void
}

export interface ClusterSourcesParts extends RuntimeContext {
  /** The size of the mesh, 255 or 511. */
  readonly maxClusters: number
  readonly connections: SharedConnections
  readonly store: StateStore
  /** Receives the nodes of a cluster, for the underlay; undefined without one. */
  readonly nodes?: ((cluster: ClusterConfig) => Sink) | undefined
  readonly gateways: LearnedGateways
}

/** What a source reads beside services. */
interface Extras {
  /** Pods, for their names in DNS. */
  readonly pods: boolean
  /** Pods with their labels, identities and policies. */
  readonly workloads: boolean
  /** Nodes with their addresses and pod networks; `only`: and nothing else, where the source can do that. */
  readonly nodes?: 'whole' | 'only' | undefined
}

const startsAtOnce = 8

interface RunningSource {
  /** 0 when it is read from the cluster itself. */
  readonly id: number
  readonly config: SourceConfig
  readonly limits: Limits
  readonly extras: Extras
  readonly source: Source
}

export class ClusterSources {
  #mesh: Mesh
  #admission: Admission
  #workloads: WorkloadStore
  #parts: ClusterSourcesParts
  #sources = new Map<string, RunningSource>()
  #pods: PodDemand

  constructor(mesh: Mesh, admission: Admission, workloads: WorkloadStore, parts: ClusterSourcesParts) {
    this.#mesh = mesh
    this.#admission = admission
    this.#workloads = workloads
    this.#parts = parts
    this.#pods = new PodDemand(workloads, parts.clock, () => [...this.#sources.values()].map(({ source }) => source))
  }

  /** Resolves when no policy waits for the Pods that it may be about. */
  get policiesSettled(): Promise<void> {
    return this.#pods.settled
  }

  /** Calls with Pods read, as they are for policies, whether there is one or not; `areRead` is false where a cluster could not be in time. */
  async withPods<T>(run: (areRead: boolean) => Promise<T>): Promise<T> {
    const { areRead, done } = await this.#pods.borrow()
    try {
      return await run(areRead)
    } finally {
      done()
    }
  }

  /**
   * Sources with an unchanged configuration keep running. A changed one is replaced; the services of the old one stay until the
   * first list of the new one. `local`: the local cluster; `podsOf`: the cluster whose Pods are watched for their names, if any;
   * `workloads`: whether plugins need Pods and policies of all clusters.
   */
  async follow(
    clusters: readonly ClusterConfig[],
    local: string,
    { podsOf, workloads = false }: { readonly podsOf?: string | undefined; readonly workloads?: boolean } = {},
  ): Promise<void> {
    const extrasOf = ({ name, source }: ClusterConfig): Extras => ({
      pods: name === podsOf && 'kubernetes' in source,
      workloads,
    })
    const isSame = (cluster: ClusterConfig, running: RunningSource) =>
      isDeepStrictEqual(cluster.source, running.config) &&
      isDeepStrictEqual(cluster.limits, running.limits) &&
      isDeepStrictEqual(extrasOf(cluster), running.extras)
    const leaving = [...this.#sources].filter(
      ([name, running]) => !clusters.some(cluster => cluster.name === name && isSame(cluster, running)),
    )
    for (const [name] of leaving) this.#sources.delete(name)
    await Promise.all(
      leaving.map(async ([name, running]) => {
        await running.source.close()
        await this.#parts.store.leave(name)
      }),
    )
    const names = clusters.map(({ name }) => name)
    this.#admission.keep(new Set(names))
    this.#parts.gateways.keep(new Set(names))
    this.#workloads.setClusters(workloads ? [local, ...names.filter(name => name !== local)] : [])
    for (const [name, rights] of rightsOf(local, clusters)) this.#admission.allow(name, rights)
    const fresh = clusters.filter(({ name }) => !this.#sources.has(name))
    const started = this.#pods.starting()
    const turns = new Turns()
    const starting = fresh.map(async (cluster, i) => {
      // Hundreds of connections are not opened in one go.
      if (i >= startsAtOnce) await turns.next()
      await this.#start(cluster, extrasOf(cluster), local)
    })
    await Promise.all(starting).finally(started)
  }

  /** Begins with what is known from earlier, if the cluster is new. */
  async #start(cluster: ClusterConfig, extras: Extras, local: string): Promise<void> {
    const { name } = cluster
    const { store } = this.#parts
    const { nodes } = this.#parts
    const parts = {
      ...this.#parts,
      ...extras,
      nodes: nodes && ('whole' as const),
      local: name === local,
      admit: (id: number) => this.#admit(name, id),
    }
    const source = createSource(cluster, parts)
    this.#sources.set(name, { id: cluster.id, config: cluster.source, limits: cluster.limits, extras, source })
    const services = this.#mesh.sink(name, cluster.limits.endpoints)
    const all = extras.workloads ? bothSinks(services, this.#workloads.sink(name)) : services
    const admitted = this.#admission.sink(name, this.#parts.gateways.sink(name, all))
    const sink = nodes ? withNodes(admitted, nodes(cluster)) : admitted
    const text = sourceText(cluster.source)
    const memory = await store.recall(name, text)
    if (memory) sink.recall?.(memory.snapshot, memory.since)
    source.start(store.sink(name, text, sink, memory))
    this.#pods.started(source)
  }

  async close(): Promise<void> {
    this.#pods.close()
    await this.follow([], '')
  }

  /** Further facts for status from the source of a cluster. */
  facts(cluster: string): Facts {
    return this.#sources.get(cluster)?.source.facts?.() ?? {}
  }

  /** Throws when another cluster has this id; the first one keeps it (Cilium 2.1). */
  #admit(cluster: string, id: number): void {
    const other = [...this.#sources].find(([name, { id: given, source }]) => {
      return name !== cluster && (given === id || source.facts?.().id === id)
    })
    if (!other) return
    const message = `${cluster} has id ${id}, which is the id of ${other[0]} too; give one of them another id`
    throw new MeshError('SOURCE_READ', message)
  }
}

/** What each cluster may claim, in the order of the configuration, the local one first and those that are discovered last. */
export function rightsOf(local: string, clusters: readonly ClusterConfig[]): Map<string, ClusterRights> {
  const known = new Map(clustersOf(local, clusters).map(cluster => [cluster.name, cluster]))
  return new Map(clusters.map((config, i) => [config.name, clusterRights(config, known.get(config.name), i + 1)]))
}

/** Manifests are files of this machine, whose loopback addresses are meant. */
function clusterRights({ source, allow }: ClusterConfig, cluster: Cluster | undefined, place: number): ClusterRights {
  const { local = false, discovered = false, tenant, network } = cluster ?? {}
  const { cidrs, namespaces, services } = allow
  return {
    loopback: allow.loopback ?? (local || 'manifests' in source),
    ...{ local, tenant, network, cidrs, namespaces, services },
    rank: local ? 0 : discovered ? Number.MAX_SAFE_INTEGER : place,
  }
}

/** The source that the configuration of a cluster names. */
export function createSource(
  { name: cluster, id, source, limits }: ClusterConfig,
  { clock, random, log, env, pods, workloads, nodes, local, maxClusters, admit, connections }: SourceParts,
): Source {
  if ('manifests' in source) return createManifestsSource(source.manifests, { cluster, clock, log, workloads })
  if ('kubernetes' in source) {
    // Without the policies of the local cluster, what they forbid would be allowed.
    const wants = workloads ? { workloads: local ? ('needed' as const) : ('wanted' as const) } : {}
    return createKubernetesSource(
      { cluster, pods, nodes, ...wants, limits, ...source.kubernetes },
      { clock, random, log, env },
    )
  }
  const known = { cluster, id: id === 0 ? undefined : id, maxClusters, admit, workloads }
  return createEtcdSource({ ...known, ...source.etcd }, { clock, random, log, limits, connections })
}

/** The source as status shows it, like `manifests conf/demo/cluster-1`. */
export function sourceText(config: SourceConfig): string {
  if ('manifests' in config) return `manifests ${config.manifests}`
  if ('etcd' in config) return `etcd ${'config' in config.etcd ? config.etcd.config : config.etcd.endpoints.join(', ')}`
  const { kubernetes } = config
  return 'inCluster' in kubernetes
    ? 'kubernetes in-cluster'
    : `kubernetes ${kubernetes.context ?? kubernetes.kubeconfig ?? 'current context'}`
}
