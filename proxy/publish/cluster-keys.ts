import { canaryKey, clusterConfigKey, prefixOf, type Resource, resources } from '../clients/clustermesh.ts'
import type { Batch } from './batch.ts'
import { Ledger } from './desired-keys.ts'
import type { Stored, Write } from './store.ts'

/**
 * The store's own cluster, what one tenant sees of it, or a copy of another cluster. The latter two stand where KVStoreMesh keeps
 * what is not the store's own, since there every resource has a range for each cluster.
 */
export type VolumeKind = 'own' | 'view' | 'copy'

interface Shelf {
  readonly prefix: string
  readonly canary: string
  readonly ledger: Ledger
  hasCanary: boolean
}

/**
 * One cluster as it is to stand in the store: its description first, then its records, and the canary of each resource once all
 * of that is written (Cilium 2.6). It goes the same way: the description at once, the rest when it is cleared.
 */
export class Volume {
  readonly cluster: string
  readonly kind: VolumeKind
  #shelves: ReadonlyMap<Resource, Shelf>
  #config: Buffer | 'gone' | undefined
  #isConfigWritten = false
  #isCleared = false
  /** Whether it is known what of it stands in the store. */
  isCompared = false

  constructor(cluster: string, kind: VolumeKind) {
    this.cluster = cluster
    this.kind = kind
    const cached = kind !== 'own'
    this.#shelves = new Map(
      resources.map(resource => {
        const [prefix, canary] = [prefixOf(resource, cluster, cached), canaryKey(resource, cluster, cached)]
        return [resource, { prefix, canary, ledger: new Ledger(), hasCanary: false }]
      }),
    )
  }

  /** Records of it, as they should be. */
  get size(): number {
    return sum(this.#ledgers, ledger => ledger.size)
  }

  get pending(): number {
    return sum(this.#ledgers, ledger => ledger.pending) + (this.#config !== undefined && !this.#isConfigWritten ? 1 : 0)
  }

  /** Nothing of it is left in the store, nor will be. */
  get isGone(): boolean {
    return this.#isCleared && this.isCompared && this.pending === 0 && this.#all.every(({ hasCanary }) => !hasCanary)
  }

  prefix(resource: Resource): string {
    return this.#shelf(resource).prefix
  }

  ledger(resource: Resource): Ledger {
    return this.#shelf(resource).ledger
  }

  describe(config: Buffer): void {
    if (this.#config instanceof Buffer && this.#config.equals(config)) return
    this.#config = config
    this.#isConfigWritten = false
    if (!this.#isCleared) return
    this.#isCleared = false
    // What is written from now on is complete anew.
    for (const shelf of this.#all) shelf.hasCanary = false
  }

  /** Nobody is to begin to read it; what it holds stays. */
  conceal(): void {
    this.#config = 'gone'
    this.#isConfigWritten = false
  }

  /** All of it is to go. */
  clear(): void {
    this.#isCleared = true
    for (const shelf of this.#all) {
      shelf.ledger.forget()
      shelf.hasCanary = true
    }
  }

  /** Written again and again, since a reader is lost without it. */
  description(): Write[] {
    return this.#config instanceof Buffer ? [{ key: clusterConfigKey(this.cluster), value: this.#config }] : []
  }

  /** Another connection, perhaps to another store: what stands there has to be looked up. */
  forgetStore(): void {
    this.isCompared = false
    this.#isConfigWritten = false
    for (const shelf of this.#all) shelf.hasCanary = false
  }

  found(resource: Resource, entries: readonly Stored[], lease: bigint): void {
    const shelf = this.#shelf(resource)
    shelf.ledger.found(entries, lease)
    // It is written again in any case; what is to be cleared may have one that nobody knows of.
    shelf.hasCanary = this.#isCleared
  }

  /** `now` is what a canary says. */
  fill(batch: Batch, now: Buffer): void {
    if (!this.isCompared) return
    if (this.#config !== undefined && !this.#isConfigWritten) {
      const key = clusterConfigKey(this.cluster)
      batch.add(this.#config === 'gone' ? { key, gone: true } : { key, value: this.#config })
    }
    for (const { ledger } of this.#all) ledger.fill(batch)
    for (const { ledger, canary, hasCanary } of this.#all) {
      if (ledger.pending > 0) continue
      if (this.#isCleared && hasCanary) batch.add({ key: canary, gone: true })
      if (!this.#isCleared && ledger.isComplete && !hasCanary) batch.add({ key: canary, value: now })
    }
  }

  settle(writes: readonly Write[]): void {
    for (const write of writes) {
      const shelf = this.#all.find(({ prefix, canary }) => write.key === canary || write.key.startsWith(prefix))
      if (shelf?.canary === write.key) shelf.hasCanary = 'value' in write
      else if (shelf) shelf.ledger.settle(write)
      else if (write.key === clusterConfigKey(this.cluster)) this.#settleConfig(write)
    }
  }

  /** It may have become another one while it was written. */
  #settleConfig(write: Write): void {
    this.#isConfigWritten = 'gone' in write ? this.#config === 'gone' : write.value === this.#config
  }

  get #all(): Shelf[] {
    return [...this.#shelves.values()]
  }

  get #ledgers(): Ledger[] {
    return this.#all.map(({ ledger }) => ledger)
  }

  #shelf(resource: Resource): Shelf {
    return this.#shelves.get(resource) as Shelf
  }
}

function sum<T>(list: readonly T[], of: (item: T) => number): number {
  return list.reduce((total, item) => total + of(item), 0)
}
