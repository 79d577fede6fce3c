/** The read side of Pods, identities and policy objects, as plugins see them. */
import type { Occupant } from './identity.ts'
import type { NameAnswer } from './name-answers.ts'
import type { PolicyObject } from './policy-object.ts'

/** What has changed since the last call. */
export interface WorkloadChange {
  /** Canonical addresses that may have another occupant now. */
  readonly addresses: ReadonlySet<string>
  /** Any address may have another occupant: a namespace has other labels, or a cluster was read anew. */
  readonly everything: boolean
  readonly policies: boolean
}

/** Who is who in all clusters, and what their policies say. Everything is read from memory. */
export interface Workloads {
  /**
   * Who has a canonical address. With `cluster`, as that cluster says; without, the first cluster that knows it, the local one
   * before the others. An address of this machine that no Pod has is `host`, unless Starlane runs in a Pod that is known: then it is
   * this Pod, and `host` is the node of the Pod. A loopback address is this machine without `cluster` alone: as a destination it is
   * nobody's. Undefined: nobody knows.
   */
  at(address: string, cluster?: string): Occupant | undefined
  /** The canonical addresses of a Pod, `NAMESPACE/NAME`, of the local cluster or else of another one. */
  addressesOf(pod: string): readonly string[]
  /** An address of one Pod of each identity, and of a machine and a proxy of each cluster, as far as they are known. */
  examples(): Iterable<string>
  /** Of all clusters, the local one first, each sorted by kind, namespace and name. */
  policies(): readonly PolicyObject[]
  /** How many addresses are known, and policies that are about Pods. */
  readonly size: { readonly addresses: number; readonly policies: number }
  /** Calls the listener after each batch of changes. Returns a function that unsubscribes. */
  onChange(listener: (change: WorkloadChange) => void): () => void
  /**
   * Calls the listener whenever DNS has an answer with addresses about a name outside of the clusters that `wants` accepts, before
   * the client gets it. Returns a function that unsubscribes.
   */
  watchNames(wants: (name: string) => boolean, listener: (answer: NameAnswer) => void): () => void
}
