/**
 * Whether sources read Pods: while any cluster has a policy or one is rehearsed, and a while longer, since a policy that is replaced may be
 * deleted first. The first policies wait until the Pods of all clusters are there, so that none is enforced before it is known who is who.
 */
import type { Clock } from '../../model/time/clock.ts'
import type { Source } from '../../sources/source.ts'
import type { WorkloadStore } from '../../workloads/store.ts'

/** How long Pods are followed after the last policy has gone. */
const lingerMs = 60_000
/** How long the first policies wait at most: a cluster that cannot be reached does not keep them from the others. */
const patienceMs = 5000

export class PodDemand {
  readonly #workloads: WorkloadStore
  readonly #clock: Clock
  readonly #sources: () => Iterable<Source>
  #isWanted = false
  #stopLingering: () => void = () => {}
  /** Pods that are not there yet. */
  readonly #missing = new Set<object>()
  /** While policies wait for them. */
  #waiting: { readonly over: PromiseWithResolvers<void>; stop(): void } | undefined
  /** How many need Pods without a policy. */
  #borrowers = 0
  /** While sources are being started, of which some may still come. */
  #starting = 0

  constructor(workloads: WorkloadStore, clock: Clock, sources: () => Iterable<Source>) {
    this.#workloads = workloads
    this.#clock = clock
    this.#sources = sources
    workloads.onChange(({ policies }) => {
      if (policies) this.#update()
    })
  }

  /** Resolves when no policy waits for Pods. */
  get settled(): Promise<void> {
    return this.#waiting?.over.promise ?? Promise.resolve()
  }

  /**
   * Reads Pods without a policy, until `done` is called. `areRead`: whether those of all clusters are there, or will not be for want of a
   * right; a cluster that cannot be reached is not waited for any longer than by policies.
   */
  async borrow(): Promise<{ readonly areRead: boolean; done(): void }> {
    this.#borrowers++
    this.#update()
    await this.settled
    let isOver = false
    const done = () => {
      if (isOver) return
      isOver = true
      this.#borrowers--
      this.#update()
    }
    return { areRead: this.#missing.size === 0, done }
  }

  /** Sources are about to be started; the returned function says that all are. */
  starting(): () => void {
    this.#starting++
    return () => {
      this.#starting--
      this.#look()
    }
  }

  /** The source has been started. */
  started(source: Source): void {
    if (this.#isWanted) this.#follow(source)
  }

  close(): void {
    this.#stopLingering()
    this.#release()
  }

  #update(): void {
    this.#stopLingering()
    if (this.#borrowers > 0 || this.#workloads.size.policies > 0) this.#begin()
    else if (this.#isWanted) this.#stopLingering = this.#clock.after(lingerMs, () => this.#end())
  }

  #begin(): void {
    if (this.#isWanted) return
    this.#isWanted = true
    this.#workloads.holdPolicies(true)
    const stop = this.#clock.after(patienceMs, () => this.#release())
    this.#waiting = { over: Promise.withResolvers(), stop }
    for (const source of this.#sources()) this.#follow(source)
    this.#look()
  }

  #end(): void {
    this.#isWanted = false
    this.#missing.clear()
    this.#release()
    for (const source of this.#sources()) void source.followPods?.(false)
  }

  #follow(source: Source): void {
    const read = source.followPods?.(true)
    if (!read) return
    this.#missing.add(read)
    void read.then(() => {
      this.#missing.delete(read)
      this.#look()
    })
  }

  #look(): void {
    if (this.#starting === 0 && this.#missing.size === 0) this.#release()
  }

  #release(): void {
    const waiting = this.#waiting
    if (!waiting) return
    this.#waiting = undefined
    waiting.stop()
    this.#workloads.holdPolicies(false)
    waiting.over.resolve()
  }
}
