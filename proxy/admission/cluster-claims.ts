/** The addresses that one cluster names: which of its services, which are of its pods, and which are of its Nodes. */
import { type Cidr, parseCidr } from '../model/address.ts'
import { filtered } from '../model/lists/filtered.ts'
import { MultiMap } from '../model/lists/multi-map.ts'
import { namesIn } from '../model/lists/names-in.ts'
import { addressOf } from '../model/lists/touched.ts'
import type { Node } from '../model/location.ts'
import type { Endpoint, ServiceKey } from '../model/service.ts'
import type { NetworkClaims } from './network-claims.ts'

/** Larger than the pod network of one Node: not believed. */
const minBits = { 4: 16, 6: 48 } as const

const addressesAtOnce = 100

/** What the cluster may name at all: the rest claims nothing. */
export interface Allowed {
  address(address: string): boolean
  range(range: Cidr): boolean
}

/** `C` is the cluster. Methods add the addresses that other clusters name too to `contested`: theirs have to be looked at again. */
export class ClusterClaims<C extends object> {
  readonly #cluster: C
  readonly #network: NetworkClaims<C>
  readonly #may: Allowed
  /** The services by the addresses that they claim. */
  #listed = new MultiMap<ServiceKey>()
  #pods = new MultiMap<ServiceKey>()
  /** By the addresses that they name without a claim, since the cluster may not. */
  #unclaimed = new MultiMap<ServiceKey>()
  #nodes = new Map<string, readonly Cidr[]>()
  /** How many Nodes have a range, by its text. */
  #ranges = new Map<string, number>()

  constructor(cluster: C, network: NetworkClaims<C>, may: Allowed) {
    this.#cluster = cluster
    this.#network = network
    this.#may = may
  }

  /** The other clusters that name the address. */
  others(address: string): readonly C[] {
    return this.#network.others(address, this.#cluster)
  }

  /** Whether the cluster says that the address is its own. */
  owns(address: string): boolean {
    return this.#pods.has(address) || this.#network.hasRange(address, this.#cluster)
  }

  /** Addresses that its services name. */
  get size(): number {
    return this.#listed.size + this.#unclaimed.size
  }

  /** The services that name an address, whether they may or not. */
  servicesAt(address: string): readonly ServiceKey[] {
    const claiming = this.#listed.get(address)
    return this.#unclaimed.has(address) ? [...claiming, ...this.#unclaimed.get(address)] : claiming
  }

  /**
   * The endpoints of a service, or of both states all those at some addresses. `mayClaim`: whether the cluster may have the service; the
   * later state of one that it may not have claims nothing.
   */
  replace(
    key: ServiceKey,
    before: readonly Endpoint[],
    after: readonly Endpoint[],
    contested: Set<string>,
    mayClaim = true,
  ): void {
    if (before === after) return
    const isClaim = ({ address }: Endpoint) => mayClaim && this.#may.address(address)
    const claimed = filtered(after, isClaim)
    const isClaimed = namesIn(claimed, addressOf, before.length)
    const isPodStill = namesIn(claimed.some(isPod) ? claimed.filter(isPod) : nothing, addressOf, before.length)
    for (const endpoint of claimed) {
      const { address } = endpoint
      if (this.#listed.add(address, key) && this.#network.list(address, this.#cluster)) contested.add(address)
      if (isPod(endpoint) && this.#pods.add(address, key)) this.#contest(address, contested)
    }
    for (const { address } of before) {
      if (!isPodStill(address) && this.#pods.delete(address, key)) this.#contest(address, contested)
      if (isClaimed(address) || !this.#listed.delete(address, key)) continue
      if (this.#network.unlist(address, this.#cluster)) contested.add(address)
    }
    if (this.#unclaimed.size > 0) for (const { address } of before) this.#unclaimed.delete(address, key)
    if (claimed.length === after.length) return
    for (const endpoint of after) if (!isClaim(endpoint)) this.#unclaimed.add(endpoint.address, key)
  }

  /** The Node is new, changed, or gone (undefined). Its pod networks and addresses are the cluster's. */
  setNode(name: string, node: Node | undefined, contested: Set<string>): void {
    const before = this.#nodes.get(name) ?? []
    const after = node
      ? rangesOf(node).filter(range => range.bits >= minBits[range.family] && this.#may.range(range))
      : []
    const isIn = (ranges: readonly Cidr[], { text }: Cidr) => ranges.some(range => range.text === text)
    const gone = before.filter(range => !isIn(after, range))
    const come = after.filter(range => !isIn(before, range))
    if (after.length > 0) this.#nodes.set(name, after)
    else this.#nodes.delete(name)
    for (const range of gone) if (this.#count(range, -1)) this.#network.deleteRange(range, this.#cluster)
    for (const range of come) if (this.#count(range, 1)) this.#network.addRange(range, this.#cluster)
    for (const range of [...gone, ...come]) {
      for (const address of this.#network.within(range)) this.#contest(address, contested)
    }
  }

  /** Names nothing any more. */
  clear(contested: Set<string>): void {
    const steps = this.clearing(contested)
    while (!steps.next().done);
  }

  /** The same in steps. Nothing else may be called until it is done. */
  *clearing(contested: Set<string>): Generator<void> {
    for (const name of [...this.#nodes.keys()]) {
      this.setNode(name, undefined, contested)
      yield
    }
    let count = 0
    for (const address of this.#listed.names()) {
      if (this.#network.unlist(address, this.#cluster)) contested.add(address)
      if (++count % addressesAtOnce === 0) yield
    }
    this.#listed = new MultiMap()
    this.#pods = new MultiMap()
    this.#unclaimed = new MultiMap()
  }

  #contest(address: string, contested: Set<string>): void {
    if (this.others(address).length > 0) contested.add(address)
  }

  /** Two Nodes may be behind one address. True if the count was or is 0. */
  #count({ text }: Cidr, more: 1 | -1): boolean {
    const before = this.#ranges.get(text) ?? 0
    if (before + more > 0) this.#ranges.set(text, before + more)
    else this.#ranges.delete(text)
    return before === 0 || before + more === 0
  }
}

const nothing: readonly never[] = []

function isPod({ pod }: Endpoint): boolean {
  return pod !== undefined
}

function rangesOf({ addresses = [], podCidrs = [] }: Node): Cidr[] {
  return [...addresses, ...podCidrs].flatMap(text => parseCidr(text) ?? [])
}
