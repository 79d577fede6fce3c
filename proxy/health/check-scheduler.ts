/**
 * Schedules health checks: the first soon after a target is added, then one per interval, with jitter so that targets
 * added together spread out. The interval of a target that passes grows, step by step, up to `relax` times. Limits the checks in flight and the rate of new ones, so that traffic has the CPU it needs.
 */
import type { Clock, Random } from '../model/time/clock.ts'
import { DueQueue } from './due-queue.ts'
import type { Target } from './watched-backend.ts'

/** Shortest time between two bursts. With 100 checks in flight that is at most 6,600 a second, about two thirds of a core. */
const paceMs = 15
/** A new target gets its first check within this share of the interval, and within `ms`. */
const firstWithin = { share: 0.1, ms: 1000 }
/** So many passes in a row add one interval to the time between two checks. */
const passesPerStep = 5

export interface CheckSchedulerParts {
  readonly intervalMs: number
  /** Most intervals between two checks of a target that passes. */
  readonly relax: number
  readonly maxInFlight: number
  readonly clock: Clock
  readonly random: Random
  /** Never rejects. True when the check failed: the next one is likely to take the whole timeout. */
  readonly check: (target: Target) => Promise<boolean>
  /** Called once, when `maxInFlight` has delayed checks by more than an interval. */
  readonly onBehind: () => void
}

export class CheckScheduler {
  readonly #parts: CheckSchedulerParts
  readonly #targets = new Set<Target>()
  // Failing targets have a queue of their own and at most half of the checks in flight: those of a dead cluster each run
  // into the timeout and must not delay the checks of live targets.
  readonly #steady = new DueQueue<Target>()
  readonly #failing = new DueQueue<Target>()
  readonly #inFlight = new Set<Promise<void>>()
  #failingInFlight = 0
  #wakeAt = Number.POSITIVE_INFINITY
  #wokeAt = Number.NEGATIVE_INFINITY
  #cancel: () => void = () => {}
  #behindSince: number | undefined
  #loggedBehind = false
  #lateMs = 0
  #closed = false

  constructor(parts: CheckSchedulerParts) {
    this.#parts = parts
  }

  stats(): { targets: number; inFlight: number; lateMs: number } {
    return { targets: this.#targets.size, inFlight: this.#inFlight.size, lateMs: this.#lateMs }
  }

  add(target: Target): void {
    const { clock, random, intervalMs } = this.#parts
    this.#targets.add(target)
    target.due = clock.now() + random() * Math.min(intervalMs * firstWithin.share, firstWithin.ms)
    this.#steady.add(target)
    this.#arm()
  }

  /** Something is wrong with the target: its next check is due an interval after the last one, at the latest. */
  hasten(target: Target): void {
    const { clock, intervalMs } = this.#parts
    const soonest = Math.max(clock.now(), target.checkedAt + intervalMs)
    if (target.due <= soonest || !this.#steady.has(target)) return
    this.#steady.remove(target)
    target.due = soonest
    this.#steady.add(target)
    this.#arm()
  }

  /** A check in flight is not cancelled. */
  remove(target: Target): void {
    this.#targets.delete(target)
    this.#steady.remove(target)
    this.#failing.remove(target)
  }

  /** Starts no more checks; resolves when none is in flight. */
  async close(): Promise<void> {
    this.#closed = true
    this.#cancel()
    await Promise.all(this.#inFlight)
  }

  #wake(): void {
    const now = this.#parts.clock.now()
    this.#wakeAt = Number.POSITIVE_INFINITY
    this.#wokeAt = now
    for (let next = this.#next(); next && next.target.due <= now; next = this.#next()) {
      next.queue.remove(next.target)
      this.#lateMs = now - next.target.due
      this.#start(next.target, next.queue === this.#failing)
    }
    this.#watchBacklog(now)
    this.#arm()
  }

  /** The target due first among those that may start now; undefined when too many checks are in flight. */
  #next(): { target: Target; queue: DueQueue<Target> } | undefined {
    const { maxInFlight } = this.#parts
    if (this.#inFlight.size >= maxInFlight) return undefined
    const steady = this.#steady.first
    const failing = this.#failingInFlight < Math.max(1, maxInFlight >> 1) ? this.#failing.first : undefined
    if (failing && !(steady && steady.due <= failing.due)) return { target: failing, queue: this.#failing }
    return steady && { target: steady, queue: this.#steady }
  }

  #start(target: Target, failing: boolean): void {
    const { check, clock, random, intervalMs, relax } = this.#parts
    target.checkedAt = clock.now()
    const jitter = 0.9 + 0.2 * random()
    if (failing) this.#failingInFlight++
    const run = check(target).then(fails => {
      this.#inFlight.delete(run)
      if (failing) this.#failingInFlight--
      if (this.#targets.has(target)) {
        target.due = target.checkedAt + intervalMs * Math.min(relax, 1 + target.passes / passesPerStep) * jitter
        const queue = fails ? this.#failing : this.#steady
        queue.add(target)
      }
      this.#arm()
    })
    this.#inFlight.add(run)
  }

  #watchBacklog(now: number): void {
    const earliest = Math.min(this.#steady.first?.due ?? now + 1, this.#failing.first?.due ?? now + 1)
    this.#behindSince = earliest <= now ? (this.#behindSince ?? now) : undefined
    if (this.#loggedBehind || now - (this.#behindSince ?? now) <= this.#parts.intervalMs) return
    this.#loggedBehind = true
    this.#parts.onBehind()
  }

  #arm(): void {
    const next = this.#closed ? undefined : this.#next()
    if (!next) return
    const at = Math.max(next.target.due, this.#wokeAt + paceMs)
    if (at >= this.#wakeAt) return
    this.#cancel()
    this.#wakeAt = at
    this.#cancel = this.#parts.clock.after(Math.max(0, at - this.#parts.clock.now()), () => this.#wake())
  }
}
