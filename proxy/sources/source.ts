import type { MeshError, Problem } from '../model/error.ts'
import type { ClusterService, Namespace, Pod } from '../model/service.ts'

/** Everything one cluster says at one moment. */
export interface Snapshot {
  readonly services: readonly ClusterService[]
  readonly namespaces: readonly Namespace[]
  /** Left out by a source that reads none. */
  readonly pods?: readonly Pod[]
}

/** Where a source delivers one cluster. Each call is a whole truth about its subject; none may throw. */
export interface Sink {
  /** The full picture: whatever is not in it is gone. Also says that the source is live. */
  reset(snapshot: Snapshot): void
  /** One service, new or changed. */
  put(service: ClusterService): void
  drop(namespace: string, name: string): void
  putNamespace(namespace: Namespace): void
  dropNamespace(name: string): void
  putPod(pod: Pod): void
  dropPod(namespace: string, name: string): void
  /** The source answers again without anything having changed. */
  live(): void
  /** The source does not answer. What it last delivered stays until the configured age. */
  lost(error: MeshError): void
  /** The complete list of what is wrong with the source's objects now; an empty list takes all back. */
  problems(problems: readonly Problem[]): void
}

/** What else a source knows of its cluster, for people; what it has no word for is left out. */
export interface Facts {
  /** The number that the cluster says of itself. */
  readonly id?: number
  readonly nodes?: number
  readonly serviceExports?: number
}

/** Turns an outside world into calls of a sink. */
export interface Source {
  /** Begins; returns at once. The first delivery may come before or after it returns. */
  start(sink: Sink): void
  /** As it stands now; cheap to ask. */
  facts?(): Facts
  /** Ends all watching; no call of the sink comes after it resolves. */
  close(): Promise<void>
}
