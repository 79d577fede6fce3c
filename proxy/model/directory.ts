/** The directory: the read side that the data path and DNS share. */
import type { Backend, Backends } from './backend.ts'
import { type ListDelta, listDelta } from './lists/list-delta.ts'
import type { GlobalService, ServiceKey } from './service.ts'

/** The change of one service. `before` is undefined for a new service, `after` for a removed one; never both. */
export interface ServiceChange {
  readonly key: ServiceKey
  readonly before: GlobalService | undefined
  readonly after: GlobalService | undefined
  /** What the list of all its backends has lost and gained: found once, for all who follow the directory. */
  readonly backends: ListDelta<Backend>
}

export function changeOf(
  key: ServiceKey,
  before: GlobalService | undefined,
  after: GlobalService | undefined,
): ServiceChange {
  return { key, before, after, backends: listDelta(before?.backends ?? none, after?.backends ?? none) }
}

/** What a part of the lists has lost and gained: a frontend's, which are usually the same lists. */
export function deltaOfPart(
  { before, after, backends }: ServiceChange,
  partBefore: Backends,
  partAfter: Backends,
): ListDelta<Backend> {
  const isWhole = partBefore === before?.backends && partAfter === after?.backends
  return isWhole ? backends : listDelta(partBefore, partAfter)
}

const none: readonly never[] = []

/** All changes of one batch, each service at most once. */
export type Change = readonly ServiceChange[]

/**
 * All services as the data path sees them: a live index of frozen values. A service object never changes; a reader that asks
 * again gets the newest one.
 */
export interface Directory {
  service(key: ServiceKey): GlobalService | undefined
  services(): IterableIterator<GlobalService>
  readonly size: number
  /** The services that have a backend at this canonical address, in whatever state. */
  servicesAt(address: string): readonly ServiceKey[]
  /** Whether the local cluster has the namespace: DNS distinguishes an empty namespace from a missing one. */
  hasNamespace(name: string): boolean
  /** Whether a local Pod of the namespace has this canonical address. Changes of Pods are not reported to listeners. */
  hasPod(namespace: string, address: string): boolean
  /** True once the source of the local cluster has delivered everything; before that, DNS must not answer NXDOMAIN. */
  readonly synced: boolean
  /** Wall-clock milliseconds of the latest change. */
  readonly changedAt: number
  /** Calls the listener after each batch. Returns a function that unsubscribes. */
  onChange(listener: (change: Change) => void): () => void
}
