/** The contract between a source, which reads one cluster, and the mesh, which merges all of them. */
import type { MeshError, Problem } from './error.ts'
import type { Node } from './location.ts'
import type { ClusterService, Namespace, Pod } from './service.ts'
import type { NamedGateway } from './tunnel/gateway-address.ts'
import type { AddressRecord, NumberedIdentity } from './workloads/identity.ts'
import type { PolicyObject } from './workloads/policy-object.ts'

/** The complete state of one cluster at one moment. */
export interface Snapshot {
  readonly services: readonly ClusterService[]
  readonly namespaces: readonly Namespace[]
  /** Absent from a source that does not read Pods. */
  readonly pods?: readonly Pod[]
  /** Absent from a source that does not read Nodes. */
  readonly nodes?: readonly Node[]
  /** These are there only if they were asked for. */
  readonly policies?: readonly PolicyObject[]
  readonly addresses?: readonly AddressRecord[]
  readonly identities?: readonly NumberedIdentity[]
  /** The gateways that the cluster says it has. A claim: who answers there must show the cluster's certificate. */
  readonly gateways?: readonly NamedGateway[]
  /** All of it has been put already, and the rest dropped: there is nothing more to do than to note that it is complete. */
  readonly isDelivered?: true
}

/** Receives one cluster. Each call carries the complete state of its subject. No call may throw. */
export interface Sink {
  /** The complete state: anything that is not in it is gone. Also marks the source as live. */
  reset(snapshot: Snapshot): void
  /**
   * The complete state as an earlier process knew it at `since` (wall-clock milliseconds), for the time until the source answers.
   * Ignored when it has answered already. Never called by a source.
   */
  recall?(snapshot: Snapshot, since: number): void
  /** One service, new or changed. */
  put(service: ClusterService): void
  drop(namespace: string, name: string): void
  putNamespace(namespace: Namespace): void
  dropNamespace(name: string): void
  putPod(pod: Pod): void
  dropPod(namespace: string, name: string): void
  /** A node of the cluster, new or changed. Left out by a sink that has no use for nodes. */
  putNode?(node: Node): void
  dropNode?(name: string): void
  /** Policies, and the addresses and identities of a Cilium mesh. Left out by a sink that has no use for them. */
  putPolicy?(policy: PolicyObject): void
  dropPolicy?(policy: PolicyObject): void
  putAddress?(record: AddressRecord): void
  dropAddress?(record: AddressRecord): void
  putIdentity?(identity: NumberedIdentity): void
  dropIdentity?(identity: NumberedIdentity): void
  /** A gateway of the cluster. Left out by a sink that has no use for them. */
  putGateway?(gateway: NamedGateway): void
  dropGateway?(gateway: NamedGateway): void
  /** The source answers again, and nothing has changed. */
  live(): void
  /** The source does not answer. The last known state stays until it is stale. */
  lost(error: MeshError): void
  /** The complete list of problems with the source's objects; an empty list clears it. */
  problems(problems: readonly Problem[]): void
}

/** Discards everything; for tests and probes. */
export const silentSink: Sink = {
  reset() {},
  put() {},
  drop() {},
  putNamespace() {},
  dropNamespace() {},
  putPod() {},
  dropPod() {},
  live() {},
  lost() {},
  problems() {},
}
