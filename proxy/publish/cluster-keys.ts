/** The etcd keys of one cluster: its cluster-config, its records by resource, and their sync canaries. */
import { canaryKey, clusterConfigKey, prefixOf, type Resource, resources } from '../clients/clustermesh.ts'
import type { Write } from '../clients/etcd/client.ts'
import type { Entry } from '../clients/etcd/rpc.ts'
import type { Batch } from './batch.ts'
import { DesiredKeys } from './desired-keys.ts'

/**
 * `own`: the cluster that the etcd belongs to. `view`: what one tenant sees of it. `copy`: another cluster. Views and copies use
 * the key layout of a KVStoreMesh cache, where every resource has a range per cluster.
 */
export type ClusterKeysKind = 'own' | 'view' | 'copy'

interface ResourceKeys {
  readonly prefix: string
  readonly canary: string
  readonly desired: DesiredKeys
  hasCanary: boolean
}

/**
 * The cluster-config is written first, then the records, then the canary of each resource once all its records are written
 * (Cilium 2.6). Removal works the same way: first the cluster-config, later the rest, by `clear`.
 */
export class ClusterKeys {
  readonly cluster: string
  readonly kind: ClusterKeysKind
  #byResource: ReadonlyMap<Resource, ResourceKeys>
  #config: Buffer | 'gone' | undefined
  #isConfigWritten = false
  #isCleared = false
  /** Whether the keys in the store have been read. */
  isCompared = false

  constructor(cluster: string, kind: ClusterKeysKind) {
    this.cluster = cluster
    this.kind = kind
    const cached = kind !== 'own'
    this.#byResource = new Map(
      resources.map(resource => {
        const [prefix, canary] = [prefixOf(resource, cluster, cached), canaryKey(resource, cluster, cached)]
        return [resource, { prefix, canary, desired: new DesiredKeys(), hasCanary: false }]
      }),
    )
  }

  /** Number of desired records. */
  get size(): number {
    return sum(this.#desired, desired => desired.size)
  }

  get pending(): number {
    return (
      sum(this.#desired, desired => desired.pending) + (this.#config !== undefined && !this.#isConfigWritten ? 1 : 0)
    )
  }

  /** Nothing is left in the store, and nothing is to be written. */
  get isGone(): boolean {
    return this.#isCleared && this.isCompared && this.pending === 0 && this.#all.every(({ hasCanary }) => !hasCanary)
  }

  prefix(resource: Resource): string {
    return this.#of(resource).prefix
  }

  desired(resource: Resource): DesiredKeys {
    return this.#of(resource).desired
  }

  setConfig(config: Buffer): void {
    if (this.#config instanceof Buffer && this.#config.equals(config)) return
    this.#config = config
    this.#isConfigWritten = false
    if (!this.#isCleared) return
    this.#isCleared = false
    // A cleared cluster returns: its canaries have to be written again.
    for (const keys of this.#all) keys.hasCanary = false
  }

  /** Deletes the cluster-config, so that no new reader starts. The records stay. */
  withdrawConfig(): void {
    this.#config = 'gone'
    this.#isConfigWritten = false
  }

  /** Deletes all records and canaries. */
  clear(): void {
    this.#isCleared = true
    for (const keys of this.#all) {
      keys.desired.forget()
      keys.hasCanary = true
    }
  }

  /** The cluster-config, which is rewritten periodically, since readers need it. */
  configWrites(): Write[] {
    return this.#config instanceof Buffer ? [{ key: clusterConfigKey(this.cluster), value: this.#config }] : []
  }

  /** A new connection, perhaps to another store: the stored keys have to be read again. */
  invalidate(): void {
    this.isCompared = false
    this.#isConfigWritten = false
    for (const keys of this.#all) keys.hasCanary = false
  }

  setStored(resource: Resource, entries: readonly Entry[], lease: bigint): void {
    const keys = this.#of(resource)
    keys.desired.setStored(entries, lease)
    // A canary is always written again. When clearing, assume there is one to delete.
    keys.hasCanary = this.#isCleared
  }

  /** Adds pending writes, as many as fit. `now`: the value of canaries. */
  fill(batch: Batch, now: Buffer): void {
    if (!this.isCompared) return
    if (this.#config !== undefined && !this.#isConfigWritten) {
      const key = clusterConfigKey(this.cluster)
      batch.add(this.#config === 'gone' ? { key, gone: true } : { key, value: this.#config })
    }
    for (const { desired } of this.#all) desired.fill(batch)
    for (const { desired, canary, hasCanary } of this.#all) {
      if (desired.pending > 0) continue
      if (this.#isCleared && hasCanary) batch.add({ key: canary, gone: true })
      if (!this.#isCleared && desired.isComplete && !hasCanary) batch.add({ key: canary, value: now })
    }
  }

  written(writes: readonly Write[]): void {
    for (const write of writes) {
      const keys = this.#all.find(({ prefix, canary }) => write.key === canary || write.key.startsWith(prefix))
      if (keys?.canary === write.key) keys.hasCanary = 'value' in write
      else if (keys) keys.desired.written(write)
      else if (write.key === clusterConfigKey(this.cluster)) this.#configWritten(write)
    }
  }

  /** The config may have changed while it was written. */
  #configWritten(write: Write): void {
    this.#isConfigWritten = 'gone' in write ? this.#config === 'gone' : write.value === this.#config
  }

  get #all(): ResourceKeys[] {
    return [...this.#byResource.values()]
  }

  get #desired(): DesiredKeys[] {
    return this.#all.map(({ desired }) => desired)
  }

  #of(resource: Resource): ResourceKeys {
    return this.#byResource.get(resource) as ResourceKeys
  }
}

function sum<T>(list: readonly T[], of: (item: T) => number): number {
  return list.reduce((total, item) => total + of(item), 0)
}
