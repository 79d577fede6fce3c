/** Which addresses and pod networks each node gets: of two nodes that claim the same ones, one. */
import ipaddr from 'ipaddr.js'
import { type Cidr, parseCidr } from '../model/address.ts'
import { nodeText, type UnderlayNode } from './node.ts'

/** A claim that was refused, or a node that is not reached, and why. */
export interface LeftOut {
  /** `cluster-2/node-a` */
  readonly node: string
  readonly why: string
  /** Two nodes claim the same addresses. */
  readonly overlap?: true
}

/** A network that this machine is connected to by itself. */
export interface Connected {
  readonly device: string
  readonly address: string
  readonly bits: number
}

const remedy = 'give each node a pod network of its own, or join these clusters by gateways (route: tunnel)'

/**
 * The nodes without what another one has: the first in the order given keeps it. A node keeps its addresses rather than its pod networks.
 * Every overlap is in `leftOut` with both names.
 */
export function withoutOverlaps(nodes: readonly UnderlayNode[]): {
  nodes: UnderlayNode[]
  leftOut: LeftOut[]
} {
  const ranges = nodes.map(({ addresses, podCidrs }) => ({ addresses: parsed(addresses), networks: parsed(podCidrs) }))
  const claimed = new RangeMap(ranges.flatMap(({ addresses, networks }) => [...addresses, ...networks]))
  const leftOut: LeftOut[] = []
  const left = nodes.map((node, i): UnderlayNode => {
    const owner = nodeText(node)
    const keeps = (range: Cidr, whose: string): boolean => {
      const other = claimed.overlapping(range, owner)
      if (!other) {
        claimed.add(range, owner)
        return true
      }
      const why = `its ${whose} overlaps ${other.text} of ${other.owner}; ${remedy}`
      leftOut.push({ node: owner, why, overlap: true })
      return false
    }
    const { addresses = [], networks = [] } = ranges[i] ?? {}
    return {
      ...node,
      addresses: addresses.filter(range => keeps(range, `address ${range.at(0)}`)).map(range => range.at(0)),
      podCidrs: networks.filter(range => keeps(range, `pod network ${range.text}`)).map(({ text }) => text),
    }
  })
  return { nodes: left, leftOut }
}

/** The node without pod networks that have addresses in common with a network of this machine. */
export function withoutConnected(
  node: UnderlayNode,
  connected: readonly Connected[],
): { node: UnderlayNode; leftOut: LeftOut[] } {
  const leftOut: LeftOut[] = []
  const podCidrs = node.podCidrs.filter(text => {
    const range = parseCidr(text)
    const taken =
      range && connected.find(({ address, bits }) => range.contains(address) || isWithin(range.at(0), address, bits))
    if (!taken) return true
    const { device, address, bits } = taken
    const why = `its pod network ${text} overlaps ${address}/${bits}, a network of this machine (${device}); ${remedy}`
    leftOut.push({ node: nodeText(node), why, overlap: true })
    return false
  })
  return { node: { ...node, podCidrs }, leftOut }
}

/** Whether two canonical addresses have their first `bits` bits in common. */
export function isWithin(one: string, other: string, bits: number): boolean {
  const [a, b] = [ipaddr.parse(one), ipaddr.parse(other)]
  return a.kind() === b.kind() && a.match(b, bits)
}

/** Distinct ranges; what is none is left out. */
function parsed(texts: readonly string[]): Cidr[] {
  return [...new Map(texts.flatMap(text => parseCidr(text) ?? []).map(range => [range.text, range])).values()]
}

interface Claim {
  readonly owner: string
  readonly text: string
}

/** Ranges with their owners, found by any range that has addresses in common with them. */
class RangeMap {
  /** The prefix lengths of all ranges that will be asked for, by family. */
  readonly #lengths: Readonly<Record<4 | 6, readonly number[]>>
  readonly #exact = new Map<string, Claim>()
  /** By each prefix that contains a range: the first that was added. */
  readonly #inside = new Map<string, Claim[]>()

  constructor(ranges: readonly Cidr[]) {
    const lengths = (wanted: 4 | 6) => [
      ...new Set(ranges.filter(({ family }) => family === wanted).map(({ bits }) => bits)),
    ]
    this.#lengths = { 4: lengths(4), 6: lengths(6) }
  }

  /** A range of another owner that contains the range or lies in it. */
  overlapping(range: Cidr, owner: string): Claim | undefined {
    const bits = bitsOf(range)
    for (const length of this.#lengths[range.family]) {
      if (length > range.bits) continue
      const found = this.#exact.get(keyOf(range, bits, length))
      if (found && found.owner !== owner) return found
    }
    return this.#inside.get(keyOf(range, bits, range.bits))?.find(claim => claim.owner !== owner)
  }

  add(range: Cidr, owner: string): void {
    const bits = bitsOf(range)
    const claim = { owner, text: range.text }
    this.#exact.set(keyOf(range, bits, range.bits), claim)
    for (const length of this.#lengths[range.family]) {
      if (length >= range.bits) continue
      const key = keyOf(range, bits, length)
      const there = this.#inside.get(key)
      // Two owners are enough: one of them is not the one that asks.
      if (!there) this.#inside.set(key, [claim])
      else if (there.length === 1 && there[0]?.owner !== owner) there.push(claim)
    }
  }
}

function bitsOf(range: Cidr): string {
  const bytes = ipaddr.parse(range.at(0)).toByteArray()
  return bytes.map(byte => byte.toString(2).padStart(8, '0')).join('')
}

const keyOf = ({ family }: Cidr, bits: string, length: number): string => `${family} ${length} ${bits.slice(0, length)}`
