/** Who is behind an address: Pods by their labels, machines, and what is outside. */
import type { Protocol } from '../address.ts'

export type Labels = Readonly<Record<string, string>>

/** A port of a container, by its name. */
export interface NamedPort {
  readonly name: string
  readonly port: number
  readonly protocol: Protocol
}

/** What Pods of one kind have in common. Sources keep one object for all Pods with equal values. */
export interface Workload {
  readonly namespace: string
  readonly labels: Labels
  /** The name of the service account; empty if it is not known. */
  readonly account: string
  readonly ports: readonly NamedPort[]
}

/**
 * Who a packet is from or for, as policies see it. `pod`: a Pod, by namespace and labels. `host`: this machine. `node`: another
 * machine of a cluster (Cilium's remote-node). `ingress`: the ingress proxy of a cluster. The same object until its labels change.
 */
export interface Identity {
  readonly kind: 'pod' | 'host' | 'node' | 'ingress'
  /** Empty for `host`. */
  readonly cluster: string
  /** Empty unless it is a Pod, like the fields below. */
  readonly namespace: string
  readonly labels: Labels
  readonly namespaceLabels: Labels
  readonly account: string
}

/** Who has an address now. */
export interface Occupant {
  readonly identity: Identity
  /** Its own address, where it was found by another: a loopback address inside the Pod. */
  readonly address?: string
  /** `shop/cart-0`, where it is known. */
  readonly pod: string | undefined
  readonly ports: readonly NamedPort[]
}

/** An address of a cluster of a Cilium mesh (`cilium/state/ip/v1`), and the number of its identity. */
export interface AddressRecord {
  /** Canonical. */
  readonly address: string
  readonly id: number
  /** `shop/cart-0`; absent for what is not a Pod. */
  readonly pod?: string
  readonly ports: readonly NamedPort[]
}

/** A numbered identity of a cluster of a Cilium mesh (`cilium/state/identities/v1`). */
export interface NumberedIdentity extends Omit<Identity, 'kind' | 'cluster'> {
  readonly id: number
}
