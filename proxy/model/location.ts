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
  /** The public key of its underlay, in base64. */
  readonly wireguardKey?: string
}

/** Where a node says its key, as an annotation of a Node or of Cilium's record of one. */
export const wireguardAnnotation = 'starlane.dev/wireguard-key'

/** 32 bytes in base64, as `wg genkey` and `wg pubkey` print them. */
export function isWireguardKey(text: string): boolean {
  return /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(text)
}
