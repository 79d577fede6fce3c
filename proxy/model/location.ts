/** Where something runs, by the labels of its node (`topology.kubernetes.io/zone` and `/region`). */

export interface Location {
  readonly node?: string
  readonly zone?: string
  readonly region?: string
}

/** A node of one cluster. */
export interface Node extends Omit<Location, 'node'> {
  readonly name: string
}
