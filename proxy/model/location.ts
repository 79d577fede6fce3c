/** Where something runs, by the labels of its node (`topology.kubernetes.io/zone` and `/region`). */

export interface Location {
  readonly node?: string
  readonly zone?: string
  readonly region?: string
}

/** A node of one cluster. */
export interface Node extends Omit<Location, 'node'> {
  readonly name: string
  /** Canonical. Absent where the source does not have them. */
  readonly addresses?: readonly string[]
  /** The networks of the pods on it, `10.1.3.0/24`; absent as well. */
  readonly podCidrs?: readonly string[]
}
