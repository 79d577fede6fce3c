/** The source that reads one cluster of a Cilium ClusterMesh from etcd. */
import type { ClusterConfig } from '../../clients/etcd/cluster-config.ts'
import { type EtcdLocation, Follower, type FollowerParts } from '../../clients/etcd/follower.ts'
import type { ClusterDescription, Subscription } from '../../clients/etcd/session.ts'
import type { Limits } from '../../model/cluster.ts'
import { MeshError } from '../../model/error.ts'
import type { Sink } from '../../model/sink.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { Facts, Source } from '../source.ts'
import { ClusterRecords } from './cluster-records.ts'

export type EtcdSourceOptions = EtcdLocation & {
  /** The name of the cluster to read, as in its keys. */
  readonly cluster: string
  /** Its cluster id; a cluster that announces another one is refused. Absent: any id is accepted. */
  readonly id?: number | undefined
  /**
   * Where a service has both records and slices, whose endpoints to use: `services`, as Cilium 1.20 does, or `slices`, which
   * distinguish terminating endpoints from ready ones.
   */
  readonly prefer?: 'services' | 'slices'
  /** Whether addresses and identities may be asked for, by {@link Source.followPods}. */
  readonly workloads?: boolean
  /** The size of the mesh: 255, the default, or 511. */
  readonly maxClusters?: number
  /** Throws when the announced id belongs to another cluster. */
  readonly admit?: (id: number) => void
}

/**
 * One cluster of a Cilium ClusterMesh, read from its etcd or from a KVStoreMesh cache (Cilium 2.7). After a loss, the last
 * known services stay until everything has been read again.
 */
export function createEtcdSource(options: EtcdSourceOptions, parts: FollowerParts): Source {
  return new EtcdSource(options, parts)
}

class EtcdSource implements Source {
  #options: EtcdSourceOptions
  #follower: Follower
  #limits: Limits | undefined
  #sink: Sink | undefined
  readonly #clock: Clock
  #records: { readonly kind: string; readonly records: ClusterRecords } | undefined
  #id: number | undefined
  #wantsPods = false
  #podsRead = Promise.withResolvers<void>()

  constructor(options: EtcdSourceOptions, parts: FollowerParts) {
    this.#options = options
    this.#clock = parts.clock
    this.#limits = parts.limits
    this.#follower = new Follower(options.cluster, options, parts, {
      open: description => this.#open(description),
      lost: error => {
        this.#records?.records.lost()
        this.#sink?.lost(error)
      },
    })
  }

  start(sink: Sink): void {
    this.#sink = sink
    this.#follower.start()
  }

  async followPods(wanted: boolean): Promise<void> {
    if (!this.#options.workloads) return
    if (wanted !== this.#wantsPods) {
      this.#wantsPods = wanted
      this.#podsRead.resolve()
      this.#podsRead = Promise.withResolvers()
      if (this.#records) this.#follow(this.#records.records)
      this.#follower.look()
    }
    if (wanted) await this.#podsRead.promise
  }

  close(): Promise<void> {
    this.#records?.records.close()
    this.#podsRead.resolve()
    return this.#follower.close()
  }

  facts(): Facts {
    return { ...(this.#id === undefined ? {} : { id: this.#id }), ...this.#records?.records.facts }
  }

  #follow(records: ClusterRecords): void {
    const { resolve } = this.#podsRead
    void records.followWorkloads(this.#wantsPods).then(resolve)
  }

  #open({ config }: ClusterDescription): readonly [Subscription, ...Subscription[]] {
    const { cluster, id = config.id, prefer = 'services', workloads, maxClusters = 255, admit } = this.#options
    const { cached } = config
    if (config.id !== id) {
      throw new MeshError(
        'SOURCE_READ',
        `${cluster} announces cluster id ${config.id}, but ${id} is configured; make them equal`,
      )
    }
    checkSize(cluster, config, maxClusters)
    admit?.(config.id)
    this.#id = config.id
    // Records that were read in another layout, or under another id, are not reused.
    const kind = `${cached} ${config.id}`
    if (this.#records?.kind !== kind) {
      this.#records?.records.close()
      const owner = { cluster, clusterId: config.id, maxClusters: config.maxConnectedClusters }
      const parts = { clock: this.#clock, limits: this.#limits, sink: this.#sink as Sink, workloads }

      this.#records = { kind, records: new ClusterRecords({ owner, cached, prefer, ...parts }) }
    }
    this.#follow(this.#records.records)
    return this.#records.records.subscribe(config)
  }
}

/**
 * Cilium's rule (2.1): a mesh of 511 refuses clusters of another size, since their identities have other bits. One of 255 does
 * not compare, but has no cluster with a larger id.
 */
function checkSize(cluster: string, { id, maxConnectedClusters }: ClusterConfig, own: number): void {
  const remedy = 'set maxConnectedClusters to the same value in every cluster'
  if (own === 511 && maxConnectedClusters !== own)
    throw new MeshError(
      'SOURCE_READ',
      `${cluster} belongs to a mesh of ${maxConnectedClusters} clusters, this is one of ${own}; ${remedy}`,
    )
  if (id > own)
    throw new MeshError('SOURCE_READ', `${cluster} has id ${id}, more than ${own}, the most clusters here; ${remedy}`)
}
