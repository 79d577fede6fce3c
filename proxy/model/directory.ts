import type { GlobalService, ServiceKey } from './service.ts'

/** What one change replaced. `before` is undefined for a new service, `after` for one that is gone; never both. */
export interface ServiceChange {
  readonly key: ServiceKey
  readonly before: GlobalService | undefined
  readonly after: GlobalService | undefined
}

/** All changes of one batch, each service at most once. */
export type Change = readonly ServiceChange[]

/**
 * The read side: all services as the data path sees them. Live index of frozen values: a reader that holds a service
 * sees it whole as it was; a reader that asks again sees the newest.
 */
export interface Directory {
  service(key: ServiceKey): GlobalService | undefined
  services(): IterableIterator<GlobalService>
  readonly size: number
  /** Local namespaces: DNS must tell an empty one from a missing one. */
  hasNamespace(name: string): boolean
  /** Whether a local Pod of the namespace has this canonical address. Its coming and going is no change that is told. */
  hasPod(namespace: string, address: string): boolean
  /** True once the local cluster's source has delivered everything at least once; before, DNS must not deny a name. */
  readonly synced: boolean
  /** Wall-clock milliseconds of the newest change. */
  readonly changedAt: number
  /** Told after each batch, in the order of subscription. The returned function ends it. */
  onChange(listener: (change: Change) => void): () => void
}
