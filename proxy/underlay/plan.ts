/** What a plan is: the device, entries and routes that this machine needs so that its pods reach those of other nodes. */
import { familyOf, parseCidr } from '../model/address.ts'
import type { LeftOut } from './claims.ts'
import { nodeText, type UnderlayNode } from './node.ts'

export type Mode = 'vxlan' | 'geneve' | 'direct' | 'wireguard'

export interface UnderlayOptions {
  readonly mode: Mode
  /** The name of the device. */
  readonly device: string
  /** The network identifier of VXLAN or Geneve, 1 to 16777215. */
  readonly vni: number
  /** The UDP port of VXLAN, Geneve or WireGuard. */
  readonly port: number
  /** The MTU of the device in bytes; undefined: what the link below leaves. */
  readonly mtu?: number | undefined
  /** Also for the other nodes of the local cluster, where no CNI joins them. */
  readonly within: boolean
  /** Whether pods of this node get its address towards what is outside of all clusters, and keep theirs inside. */
  readonly masquerade: boolean
  /** Where the private key of mode wireguard is. */
  readonly keyFile?: string | undefined
  /** What carries mode wireguard where the kernel does not; undefined: what is found on the PATH. */
  readonly program?: string | undefined
}

/** A network device of this machine. */
export interface LocalLink {
  readonly name: string
  /** In bytes. */
  readonly mtu: number
  readonly addresses: readonly { readonly address: string; readonly bits: number }[]
}

export type Device = EncapsulatingDevice | WireguardDevice

export interface EncapsulatingDevice {
  readonly kind: 'vxlan' | 'geneve'
  readonly name: string
  readonly vni: number
  readonly port: number
  /** The address of this node that packets are sent from. With Geneve routes have it, and the VNI. */
  readonly local: string
  readonly mac: string
  /** In bytes. */
  readonly mtu: number
  /** `10.1.1.0/32`: the first address of each pod network of this node, which its packets to pods elsewhere come from. */
  readonly addresses: readonly string[]
}

export interface WireguardDevice {
  readonly kind: 'wireguard'
  readonly name: string
  readonly port: number
  /** In bytes. */
  readonly mtu: number
  /** As those of an encapsulating device. */
  readonly addresses: readonly string[]
  /** Of this node; the private one is in the file. */
  readonly publicKey: string
  readonly keyFile: string
  readonly peers: readonly WireguardPeer[]
}

export interface WireguardPeer {
  readonly key: string
  readonly address: string
  readonly port: number
  /** What its packets may come from, and what is sent to it. */
  readonly allowed: readonly string[]
  /** All addresses of the node. */
  readonly others: readonly string[]
}

/** The device address behind an address on the link of the device. */
export interface Neighbour {
  readonly address: string
  readonly mac: string
}

/** The node behind a device address. */
export interface Forwarding {
  readonly mac: string
  readonly node: string
}

export interface Route {
  readonly cidr: string
  /** Empty: the network is on the link of the device. */
  readonly via: string
  readonly device: string
  /** What packets are put into, where the route says so. */
  readonly within?: Encapsulation
}

/** From node to node. Both addresses have one family. */
export interface Encapsulation {
  readonly vni: number
  readonly local: string
  readonly node: string
}

/** A node whose pods are reached. */
export interface Peer {
  readonly cluster: string
  readonly name: string
  /** Its address on the network between nodes. */
  readonly address: string
  readonly networks: readonly string[]
  /** An address of the node that is reached the way that its pods are. */
  readonly probe: string
  /** The largest packet on the way there, in bytes. */
  readonly mtu: number
}

export interface Plan {
  /** Absent in mode direct. */
  readonly device: Device | undefined
  readonly neighbours: readonly Neighbour[]
  readonly forwarding: readonly Forwarding[]
  readonly routes: readonly Route[]
  readonly peers: readonly Peer[]
  readonly leftOut: readonly LeftOut[]
  /** The pod networks of this node, and those with the addresses of all nodes. */
  readonly own: readonly string[]
  readonly inside: readonly string[]
}

/** What a mode collects from peer to peer. */
export type Found = { -readonly [K in Exclude<keyof Plan, 'device'>]: Plan[K][number][] }

/** The nodes whose pods are to be reached, by name. */
export function peersOf(nodes: readonly UnderlayNode[], own: UnderlayNode, within: boolean): UnderlayNode[] {
  return nodes
    .filter(node => nodeText(node) !== nodeText(own) && (within || node.cluster !== own.cluster))
    .sort((a, b) => (nodeText(a) < nodeText(b) ? -1 : 1))
}

export function leave({ leftOut }: Pick<Found, 'leftOut'>, node: UnderlayNode, why: string): void {
  leftOut.push({ node: nodeText(node), why })
}

/** The addresses of a node on the network between nodes: those in its own pod network are inside of the tunnel. */
export function outside(node: UnderlayNode): string[] {
  const networks = node.podCidrs.flatMap(text => parseCidr(text) ?? [])
  return node.addresses.filter(address => !networks.some(network => network.contains(address)))
}

/** The family that packets between nodes have: IPv4 unless a node lacks it, and all have IPv6. The same on all nodes. */
export function familyBetween(nodes: readonly UnderlayNode[]): 4 | 6 {
  const used = nodes.filter(({ addresses }) => addresses.length > 0)
  const all = (family: 4 | 6) => used.every(node => outside(node).some(address => familyOf(address) === family))
  return !all(4) && all(6) ? 6 : 4
}
