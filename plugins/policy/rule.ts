/** Policies after reading: what all kinds have in common. */
import type { GlobalService, PolicyObject } from '../../proxy/plugin.ts'
import type { PortMatch } from './ports.ts'
import type { Range } from './range.ts'
import type { CidrGroup } from './read/cidr-groups.ts'
import type { Selector } from './selector.ts'

export type Direction = 'ingress' | 'egress'

/** What is not a Pod: Cilium's entities, as far as they can be told apart here. */
export type Kind = 'pod' | 'host' | 'node' | 'ingress' | 'world'

/** Whom a rule is about: one of these must match the other end. */
export type Peer =
  | { readonly is: 'anyone' }
  | { readonly is: 'labels'; readonly selector: Selector }
  /** Pods for which none of the selectors holds: `fromRequires` and `toRequires`. */
  | { readonly is: 'others'; readonly selectors: readonly Selector[] }
  /** `pods`: the ranges count for Pods and machines too, not only for what is outside. */
  | {
      readonly is: 'range'
      readonly ranges: readonly Range[]
      readonly except: readonly Range[]
      readonly pods: boolean
    }
  | { readonly is: 'kinds'; readonly kinds: readonly Kind[]; readonly family?: 4 | 6; readonly cluster?: string }
  /** What DNS has answered for a name: a pattern in lower case, and its test. */
  | { readonly is: 'name'; readonly pattern: string; readonly test: RegExp }
  | { readonly is: 'service'; readonly text: string; readonly has: (service: GlobalService) => boolean }
  /** Cannot be decided here; it could be any of these. */
  | { readonly is: 'undecided'; readonly could: readonly Kind[]; readonly why: string }

export interface Rule {
  readonly policy: Policy
  readonly direction: Direction
  readonly effect: 'allow' | 'deny'
  /** `ingress[0]` */
  readonly text: string
  readonly peers: readonly Peer[]
  /** Undefined: all ports. */
  readonly ports: readonly PortMatch[] | undefined
  /** A condition that cannot be decided here, such as one of layer 7. */
  readonly undecided: string | undefined
}

export interface Policy {
  readonly object: PolicyObject
  /** `NetworkPolicy shop/deny (policies.yaml:12)` */
  readonly text: string
  /** For the metric: `shop/deny`, or the name of one of the whole cluster. */
  readonly name: string
  /** The Pods of its cluster that it is about. */
  readonly subject: Selector
  /** In which directions its subjects may only do what a rule allows. */
  readonly isolates: Readonly<Record<Direction, boolean>>
  readonly rules: readonly Rule[]
  /** Decided and counted, but not enforced. */
  readonly audit: boolean
}

/** How policies are read. */
export interface ReadOptions {
  /** Cilium's `policy-default-local-cluster`. */
  readonly defaultLocalCluster: boolean
  /** Whether ranges of NetworkPolicies count for Pods. */
  readonly ipBlocks: 'all' | 'outside'
  /** Those of all clusters. */
  readonly groups?: readonly CidrGroup[]
}

/** A policy while its rules are being read. */
export type Draft = Omit<Policy, 'rules'> & { rules: Rule[] }
