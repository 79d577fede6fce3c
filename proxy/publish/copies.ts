/** All clusters that are copied into the store, and those that are being removed from it. */
import type { MeshError, Problem } from '../model/error.ts'
import type { Clock } from '../model/time/clock.ts'
import type { ClusterKeys } from './cluster-keys.ts'
import { Copy } from './copy.ts'

/** How long the records of a removed cluster stay for its readers (Cilium 2.6). */
export const graceMs = 3 * 60_000

export interface CopiesOptions {
  /** How long the services of a lost cluster are kept; 0 is for ever. */
  readonly ttlMs: number
  readonly clock: Clock
  /** There may be something to write. */
  readonly changed: () => void
}

export class Copies {
  #options: CopiesOptions
  #copies = new Map<string, Copy>()
  #stops = new Map<string, () => void>()

  constructor(options: CopiesOptions) {
    this.#options = options
  }

  get clusters(): ClusterKeys[] {
    return [...this.#copies.values()].map(({ keys }) => keys)
  }

  get problems(): Problem[] {
    return [...this.#copies.values()].flatMap(({ problems }) => problems)
  }

  /** By cluster name. */
  entries(): Iterable<[string, Copy]> {
    return this.#copies.entries()
  }

  /** Starts a copy. A cluster that was leaving stays, with what is left of it. */
  copy(cluster: string): Copy {
    this.#stop(cluster)
    const known = this.#copies.get(cluster)
    if (known) known.join()
    const copy = known ?? new Copy(cluster, this.#options.changed)
    this.#copies.set(cluster, copy)
    return copy
  }

  live(cluster: string): void {
    this.#stop(cluster)
    this.#copies.get(cluster)?.live()
  }

  lost(cluster: string, error: MeshError): void {
    const copy = this.#copies.get(cluster)
    const { ttlMs } = this.#options
    copy?.lost(error)
    if (!copy || ttlMs === 0 || this.#stops.has(cluster) || copy.state === 'drained') return
    this.#after(cluster, ttlMs, () => copy.drain(ttlMs))
  }

  leave(cluster: string): void {
    const copy = this.#copies.get(cluster)
    if (!copy || copy.state === 'leaving') return
    this.#stop(cluster)
    copy.leave()
    this.#after(cluster, graceMs, () => copy.clear())
  }

  /** Removes clusters that the store holds but nothing has configured: another process left them behind. */
  discovered(clusters: readonly string[]): void {
    for (const cluster of clusters) {
      if (this.#copies.has(cluster)) continue
      this.copy(cluster)
      this.leave(cluster)
    }
  }

  /** Forgets the clusters whose removal is complete. */
  sweep(): void {
    for (const [cluster, { state, keys }] of this.#copies) {
      if (state === 'leaving' && keys.isGone) this.#copies.delete(cluster)
    }
  }

  close(): void {
    for (const cluster of [...this.#stops.keys()]) this.#stop(cluster)
  }

  #after(cluster: string, ms: number, run: () => void): void {
    this.#stops.set(cluster, this.#options.clock.after(ms, run))
  }

  #stop(cluster: string): void {
    this.#stops.get(cluster)?.()
    this.#stops.delete(cluster)
  }
}
