/** A limit that clusters share: one may use all of it, and gives way when others come. */

export interface Held {
  /** Ends it, to make room. */
  evict(): void
}

/**
 * At the limit a newcomer takes the place of the idlest of the cluster that holds most, if its own cluster then holds no more than
 * that one.
 */
export class FairLimit<T extends Held> {
  readonly #most: () => number
  readonly #holders = new Map<string, Set<T>>()
  #size = 0

  constructor(most: () => number) {
    this.#most = most
  }

  get size(): number {
    return this.#size
  }

  /** How many a cluster holds. */
  of(cluster: string): number {
    return this.#holders.get(cluster)?.size ?? 0
  }

  /** False when there is no room for it. */
  add(cluster: string, item: T): boolean {
    if (this.#size >= this.#most() && !this.#makeRoom(cluster)) return false
    const held = this.#holders.get(cluster) ?? new Set<T>()
    this.#holders.set(cluster, held)
    held.add(item)
    this.#size++
    return true
  }

  remove(cluster: string, item: T): void {
    const held = this.#holders.get(cluster)
    if (!held?.delete(item)) return
    this.#size--
    if (held.size === 0) this.#holders.delete(cluster)
  }

  /** It is in use: the last of its cluster to go. */
  active(cluster: string, item: T): void {
    const held = this.#holders.get(cluster)
    if (held?.delete(item)) held.add(item)
  }

  #makeRoom(cluster: string): boolean {
    let [greediest]: (Set<T> | undefined)[] = []
    for (const held of this.#holders.values()) if (held.size > (greediest?.size ?? 0)) greediest = held
    if (!greediest || this.of(cluster) + 1 >= greediest.size) return false
    const [idlest] = greediest
    idlest?.evict()
    return this.#size < this.#most()
  }
}
