/** The JSON of a rehearsal: what a change of policies, or the loss of a cluster, would do to recorded flows. */
import type { Problem } from '../error.ts'
import type { FlowGroup, NameGroup } from './flow-groups.ts'

export interface RehearsalRequest {
  /** The text of manifests with policies, and where each was read. They replace those of the same kind and name. */
  readonly manifests?: readonly { readonly path: string; readonly text: string }[]
  /** The cluster that they are for; by default the local one. */
  readonly cluster?: string
  /** The cluster that is lost. */
  readonly without?: string
  /** Recorded flows; without them those of the recorder, of the last `sinceMs`. */
  readonly flows?: readonly FlowGroup[]
  /** With `flows`: what DNS has answered in the same recording, for policies about names (`toFQDNs`). */
  readonly names?: readonly NameGroup[]
  readonly sinceMs?: number
}

export interface Rehearsal {
  /** Flows that were decided. */
  readonly flows: number
  /** Flows that could not be, by reason. */
  readonly skipped: Readonly<Record<string, number>>
  /** With policies: the flows that would be decided otherwise, most of them first. */
  readonly changes: readonly FlowChange[]
  /** Without a cluster: the services that have backends there, those with the fewest backends left first. */
  readonly services: readonly ServiceLoss[]
  /** What cannot be decided in the new policies, and what is wrong with the manifests. */
  readonly problems: readonly Problem[]
  /** Pods of a cluster could not be read, so that no policy is about them: that nothing would be refused says little. */
  readonly incomplete?: true
}

/** `moved`: it is still allowed, and the backend that it had is not. */
export type FlowChangeKind = 'refused' | 'allowed' | 'moved'

export interface FlowChange {
  readonly client: string
  readonly pod?: string
  readonly service: string
  /** What would become of the flows. */
  readonly to: FlowChangeKind
  readonly flows: number
  /** The rule or policy that decides: with `allowed`, the one that had refused. */
  readonly why: string
}

export interface ServiceLoss {
  readonly service: string
  /** `none`: no backend is left; `few`: less than half of them; `some`: at least half. */
  readonly state: 'none' | 'few' | 'some'
  /** Backends that get new flows now, and then. */
  readonly before: number
  readonly after: number
  /** Recorded flows of the service that went to the lost cluster, and where such flows would go: shares of 1 by cluster. */
  readonly moved: number
  readonly load: Readonly<Record<string, number>>
}
