/** Publishes the local cluster, and copies other clusters, as the configuration asks; without `publish` it does nothing. */
import { heartbeatKey } from '../clients/clustermesh.ts'
import { connectEtcd, type SharedConnections } from '../clients/etcd/connect.ts'
import type { StoreIdentity } from '../clients/etcd/session.ts'
import { type FileWatch, watchFiles } from '../clients/file-watch.ts'
import type { Config, EtcdConfig } from '../config/schema.ts'
import type { Mesh } from '../mesh/mesh.ts'
import { defaultLimits } from '../model/cluster.ts'
import { MeshError, type Problem } from '../model/error.ts'
import { parseServicePattern, type ServicePattern } from '../model/text/service-pattern.ts'
import type { PublisherView } from '../model/views.ts'
import type { Copies } from '../publish/copies.ts'
import { followDirectory } from '../publish/follow-directory.ts'
import { createPublisher, type Publisher, type PublisherState } from '../publish/publisher.ts'
import { type CopyTarget, createEtcdCopy, type EtcdCopy } from '../sources/etcd/etcd-copy.ts'
import type { RuntimeContext } from './context.ts'

/** A copy has all records of a cluster, those of its pods too. */
const copyLimits = { ...defaultLimits, objects: 500_000, bytes: 512 << 20 }

interface PublicationParts extends RuntimeContext {
  readonly connections: SharedConnections
}

export class Publication {
  readonly #mesh: Mesh
  readonly #parts: PublicationParts
  readonly #publisher: Publisher | undefined
  readonly #isCaching: boolean
  readonly #where: string
  #copying = new Map<string, { readonly place: string; readonly copy: EtcdCopy }>()
  /** Clusters whose etcd has the same cluster id as ours, and was logged. */
  readonly #alike = new Set<string>()
  readonly #certificates: readonly string[] = []
  #stopFollowing: () => void = () => {}
  #fileWatch: FileWatch | undefined

  constructor(
    { publish, cluster, clusters, stale, maxConnectedClusters }: Config,
    mesh: Mesh,
    parts: PublicationParts,
  ) {
    this.#mesh = mesh
    this.#parts = parts
    this.#isCaching = publish?.cache ?? false
    this.#where = publish?.endpoints.join(', ') ?? ''
    if (!publish) return
    const { slices, lease, rate, cache, tenants, ...servers } = publish
    const { clock, random, log } = parts
    this.#certificates = [servers.ca, servers.cert, servers.key].filter(path => path !== undefined)
    const clusterId = clusters.find(({ name }) => name === cluster)?.id ?? 0
    const open = (signal: AbortSignal) => connectEtcd(servers, { probe: heartbeatKey, clock, random, signal })
    this.#publisher = createPublisher(
      {
        ...{ cluster, clusterId, maxClusters: maxConnectedClusters, slices, leaseMs: lease, writesPerSecond: rate },
        tenants: new Map(Object.entries(tenants).map(([tenant, patterns]) => [tenant, anyOf(patterns)])),
        cache: cache ? { ttlMs: stale.after } : undefined,
        awaitGateways: true,
      },
      { open, clock, random, log },
    )
  }

  start(): void {
    const publisher = this.#publisher
    if (!publisher) return
    if (this.#certificates.length > 0) {
      this.#fileWatch = watchFiles(
        () => this.#certificates,
        this.#parts.clock,
        () => publisher.reconnect(),
      )
    }
    publisher.start()
    this.#stopFollowing = followDirectory(this.#mesh.directory, publisher, {
      isGlobalNamespace: name => this.#mesh.isGlobalNamespace(name),
      isConfirmed: () => this.#mesh.isConfirmed,
      clock: this.#parts.clock,
    })
  }

  /** With `publish.cache`, copies the clusters that are read from an etcd. */
  async copy(clusters: ReadonlyMap<string, EtcdConfig>): Promise<void> {
    if (!this.#publisher || !this.#isCaching) return
    const { copies } = this.#publisher
    const left = [...this.#copying].filter(([name, { place }]) => place !== JSON.stringify(clusters.get(name)))
    for (const [name] of left) {
      this.#copying.delete(name)
      this.#alike.delete(name)
    }
    await Promise.all(left.map(([, { copy }]) => copy.close()))
    for (const [name] of left) if (!clusters.has(name)) copies.leave(name)
    for (const [name, etcd] of clusters) {
      if (this.#copying.has(name)) continue
      copies.copy(name)
      const copy = createEtcdCopy({ cluster: name, ...etcd }, this.#target(name, copies), {
        ...this.#parts,
        limits: copyLimits,
      })
      this.#copying.set(name, { place: JSON.stringify(etcd), copy })
      copy.start()
    }
  }

  /** Where the local cluster's gateways are reached. */
  setGateways(gateways: readonly string[]): void {
    this.#publisher?.setGateways(gateways)
  }

  /** What cannot be published or copied. */
  problems(): readonly Problem[] {
    return this.#publisher?.problems() ?? []
  }

  /** Undefined without `publish`. */
  view(): PublisherView | undefined {
    if (!this.#publisher) return undefined
    const { state, since, services, pending, ...rest } = this.#publisher.state()
    const copies = [...this.#publisher.copies.entries()].map(([cluster, copy]) => ({
      cluster,
      state: copy.state,
      records: copy.keys.size,
      pending: copy.keys.pending,
      ...(copy.error ? { error: copy.error.message } : {}),
    }))
    return { where: this.#where, state, since, services, pending, ...errorOf(rest), copies }
  }

  async close(): Promise<void> {
    this.#stopFollowing()
    this.#fileWatch?.stop()
    await Promise.all([...this.#copying.values()].map(({ copy }) => copy.close()))
    await this.#publisher?.close()
  }

  /** Throws if two stores with one etcd cluster id are the same, or if that cannot be known yet. */
  #checkStore(cluster: string, own: StoreIdentity, store: StoreIdentity): void {
    if (store.heartbeat === undefined)
      throw new MeshError(
        'PUBLISH',
        `the etcd of ${cluster} has the id of ours and no heartbeat yet: it may be the same`,
      )
    if (store.heartbeat === own.heartbeat)
      throw new MeshError('PUBLISH', `${cluster} is already in the etcd that it would be copied to; read it there`)
    if (this.#alike.has(cluster)) return
    this.#alike.add(cluster)
    const remedy = 'start each etcd with an --initial-cluster-token of its own'
    this.#parts.log.warn('publish.same-etcd-id', { cluster, id: store.clusterId, remedy })
  }

  #target(cluster: string, copies: Copies): CopyTarget {
    const copy = copies.copy(cluster)
    return {
      described: (id, config, store) => {
        const own = this.#publisher?.state().store
        if (own === undefined)
          throw new MeshError('PUBLISH', `the etcd that ${cluster} is copied to does not answer yet`)
        if (own.clusterId === store.clusterId) this.#checkStore(cluster, own, store)
        copy.described(id, config)
      },
      listed: (resource, records) => copy.listed(resource, records),
      changed: (resource, suffix, value) => copy.changed(resource, suffix, value),
      live: () => copies.live(cluster),
      lost: error => copies.lost(cluster, error),
    }
  }
}

function errorOf(rest: Partial<Extract<PublisherState, { error: unknown }>>): { readonly error?: string } {
  return rest.error ? { error: rest.error.message } : {}
}

function anyOf(texts: readonly string[]): ServicePattern {
  const patterns = texts.flatMap(text => parseServicePattern(text) ?? [])
  return service => patterns.some(matches => matches(service))
}
