/**
 * Allocates virtual addresses from a range, one per service. Services of the local cluster come first: what only other clusters
 * export may take a part of the range, each of them a share of it, and makes room when a local one needs it.
 */
import type { Cidr } from '../model/address.ts'
import type { Problem } from '../model/error.ts'
import type { ServiceKey } from '../model/service.ts'

/** What remote exports may take of the range: together, and those of one cluster. The rest is for local services. */
const remoteShares = { all: 0.75, one: 0.5 } as const
/** Of the range, so many addresses that were given back most recently are used last: resolvers may still have them. */
const restingShare = 1 / 16

interface Allocation {
  readonly address: string
  readonly index: number
  /** The remote cluster that it counts for; undefined for a local service. */
  readonly cluster: string | undefined
}

/** How far from its hash an address of another process is looked for. */
const maxTries = 1000

/**
 * The address is a hash of the service's name, or the next free one if that is taken: after a restart most services have the
 * same address again, and cached DNS answers stay valid.
 */
export class VipAllocator {
  readonly range: Cidr
  /** Of a predecessor, for services that have not asked yet: indexes by service. */
  readonly #wanted = new Map<ServiceKey, number>()
  readonly #reserved = new Set<number>()
  #byService = new Map<ServiceKey, Allocation>()
  #taken = new Set<number>()
  /** The services of remote clusters that hold an address, in the order in which they got it. */
  #remote = new Map<string, Set<ServiceKey>>()
  #remoteCount = 0
  /** Given back, the oldest first. */
  #resting = new Set<number>()
  /** Local services that got none. */
  #refused = new Set<ServiceKey>()
  /** Services of remote clusters that got none, with the clusters that export them. */
  #refusedRemote = new Map<ServiceKey, readonly string[]>()

  constructor(range: Cidr) {
    this.range = range
  }

  /**
   * The service's address, a new one if it has none. `exporters`: the remote clusters that alone have the service; empty for a
   * local one. Undefined when the range, or the share of these clusters, is full. `evicted`: the service whose address it is now.
   */
  allocate(key: ServiceKey, exporters: readonly string[] = []): { address: string; evicted?: ServiceKey } | undefined {
    const held = this.#byService.get(key)
    const isSame = held?.cluster === undefined ? exporters.length === 0 : exporters.includes(held.cluster)
    if (held && isSame) return { address: held.address }
    if (held) return { address: this.#reassign(key, held, this.#leastOf(exporters)).address }
    const cluster = this.#leastOf(exporters)
    const evicted = this.#hasRoom(cluster) ? undefined : this.#victimFor(cluster)
    if (evicted === undefined && !this.#hasRoom(cluster)) {
      this.#unrefuse(key)
      if (exporters.length === 0) this.#refused.add(key)
      else this.#refusedRemote.set(key, exporters)
      return undefined
    }
    if (evicted !== undefined) this.#evict(evicted)
    this.#unrefuse(key)
    const index = this.#freeIndex(key)
    const address = this.range.at(index + (this.#skipsEnds ? 1 : 0))
    this.#taken.add(index)
    this.#resting.delete(index)
    this.#hold(key, { address, index, cluster })
    return evicted === undefined ? { address } : { address, evicted }
  }

  /** The services and their addresses. */
  get held(): ReadonlyMap<ServiceKey, string> {
    return new Map([...this.#byService].map(([key, { address }]) => [key, address]))
  }

  /** The address that a service had in another process: it gets it when it asks, and others get it last. */
  reserve(key: ServiceKey, address: string): void {
    if (this.#byService.has(key) || !this.range.contains(address)) return
    const size = this.#size
    let index = hash(key) % size
    for (let tries = 0; tries < Math.min(maxTries, size); tries++, index = (index + 1) % size) {
      if (this.range.at(index + (this.#skipsEnds ? 1 : 0)) !== address) continue
      if (this.#taken.has(index) || this.#reserved.has(index)) return
      this.#wanted.set(key, index)
      this.#reserved.add(index)
      return
    }
  }

  /** A service that waits for an address and could have one now, a local one first. */
  release(key: ServiceKey): ServiceKey | undefined {
    this.#unrefuse(key)
    if (!this.#free(key)) return undefined
    const [local] = this.#refused
    if (local !== undefined) return local
    for (const [waiting, exporters] of this.#refusedRemote) if (this.#hasRoom(this.#leastOf(exporters))) return waiting
    return undefined
  }

  problems(): Problem[] {
    const { text } = this.range
    const problems = [...this.#refused].map((key): Problem => {
      return {
        code: 'VIP_RANGE',
        where: key,
        message: `no virtual address is left in ${text}; configure a larger proxy.vips.cidr`,
      }
    })
    for (const [cluster, waiting] of Map.groupBy(this.#refusedRemote, ([, [first = '']]) => first)) {
      const keys = waiting.map(([key]) => key)
      const what =
        keys.length === 1 ? `${keys[0]} of it has` : `${keys.length} services of it, such as ${keys[0]}, have`
      const most = `of ${text} other clusters get at most three quarters, and one of them half`
      const message = `${what} no virtual address: ${most}; configure a larger proxy.vips.cidr`
      problems.push({ code: 'VIP_RANGE', where: cluster, message })
    }
    return problems
  }

  /** A local service may take whatever is free; remote ones keep to their shares. */
  #hasRoom(cluster: string | undefined): boolean {
    if (this.#taken.size >= this.#size) return false
    if (cluster === undefined) return true
    return this.#remoteCount < this.#most(remoteShares.all) && this.#held(cluster) < this.#most(remoteShares.one)
  }

  /** The newest address of the remote cluster that holds most; for a remote cluster, only if that holds clearly more. */
  #victimFor(cluster: string | undefined): ServiceKey | undefined {
    let greediest: ReadonlySet<ServiceKey> | undefined
    for (const keys of this.#remote.values()) if (keys.size > (greediest?.size ?? 0)) greediest = keys
    if (!greediest || (cluster !== undefined && greediest.size <= this.#held(cluster) + 1)) return undefined
    return [...greediest].at(-1)
  }

  #evict(key: ServiceKey): void {
    const { cluster } = this.#byService.get(key) ?? {}
    this.#free(key)
    if (cluster !== undefined) this.#refusedRemote.set(key, [cluster])
  }

  /** A service that has become local, or is remote from now on: it keeps its address. */
  #reassign(key: ServiceKey, { address, index }: Allocation, cluster: string | undefined): Allocation {
    this.#unhold(key)
    const allocation = { address, index, cluster }
    this.#hold(key, allocation)
    return allocation
  }

  #unrefuse(key: ServiceKey): void {
    this.#refused.delete(key)
    this.#refusedRemote.delete(key)
  }

  #hold(key: ServiceKey, allocation: Allocation): void {
    this.#byService.set(key, allocation)
    const { cluster } = allocation
    if (cluster === undefined) return
    this.#remoteCount++
    const keys = this.#remote.get(cluster)
    if (keys) keys.add(key)
    else this.#remote.set(cluster, new Set([key]))
  }

  #unhold(key: ServiceKey): Allocation | undefined {
    const held = this.#byService.get(key)
    if (!held) return undefined
    this.#byService.delete(key)
    const keys = held.cluster === undefined ? undefined : this.#remote.get(held.cluster)
    if (keys?.delete(key)) this.#remoteCount--
    if (keys?.size === 0) this.#remote.delete(held.cluster ?? '')
    return held
  }

  #free(key: ServiceKey): boolean {
    const held = this.#unhold(key)
    if (!held) return false
    this.#taken.delete(held.index)
    this.#resting.add(held.index)
    const most = Math.floor(this.#size * restingShare)
    for (const index of this.#resting) {
      if (this.#resting.size <= most) break
      this.#resting.delete(index)
    }
    return true
  }

  #freeIndex(key: ServiceKey): number {
    const size = this.#size
    const wanted = this.#wanted.get(key)
    if (wanted !== undefined) {
      this.#wanted.delete(key)
      this.#reserved.delete(wanted)
      if (!this.#taken.has(wanted)) return wanted
    }
    const first = hash(key) % size
    let index = first
    const isAvoided = (one: number) => this.#reserved.has(one) || (this.#resting.has(one) && one !== first)
    while (this.#taken.has(index) || isAvoided(index)) {
      index = (index + 1) % size
      if (index === first) break
    }
    if (!this.#taken.has(index)) return index
    // Only those that rest, or are kept for others, are left.
    for (const one of this.#resting) if (!this.#taken.has(one)) return one
    for (const one of this.#reserved) if (!this.#taken.has(one)) return one
    return index
  }

  /** Of several exporters the one that holds least. */
  #leastOf(exporters: readonly string[]): string | undefined {
    return exporters.toSorted((a, b) => this.#held(a) - this.#held(b))[0]
  }

  #held(cluster: string): number {
    return this.#remote.get(cluster)?.size ?? 0
  }

  #most(share: number): number {
    return Math.max(1, Math.floor(this.#size * share))
  }

  /** The first and last address of an IPv4 range are the network's and the broadcast address. */
  get #skipsEnds(): boolean {
    return this.range.family === 4 && this.range.bits < 31
  }

  get #size(): number {
    return Math.min(this.range.size - (this.#skipsEnds ? 2 : 0), 2 ** 31)
  }
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value >>> 0
}
