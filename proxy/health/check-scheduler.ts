/**
 * When each target is checked: soon after it joined, then every interval, with jitter so that targets which came
 * together drift apart. A ceiling on checks in flight, and a pace, so that checking leaves room for traffic.
 */
import type { Clock, Random } from '../model/time/clock.ts'
import { Agenda } from './due-queue.ts'
import type { Target } from './watched.ts'

/** Between two bursts of checks: with a ceiling of 100 at most 6,600 a second, about two thirds of a core. */
const paceMs = 15
/** Within this share of the interval, and at most this long, a new target gets its first check. */
const firstWithin = { share: 0.1, ms: 1000 }

export interface RoundsParts {
  readonly intervalMs: number
  readonly maxInFlight: number
  readonly clock: Clock
  readonly random: Random
  /** Never rejects. Resolves to whether the target may be dead, so that its next check may take the whole timeout. */
  readonly check: (target: Target) => Promise<boolean>
  /** Once, when the ceiling has held checks back for a whole interval. */
  readonly onBehind: () => void
}

export class Rounds {
  readonly #parts: RoundsParts
  readonly #targets = new Set<Target>()
  // Two queues. A dead cluster's checks last until they time out; the half of the ceiling that they may not have keeps
  // the checks of the living on time.
  readonly #steady = new Agenda<Target>()
  readonly #failing = new Agenda<Target>()
  readonly #inFlight = new Set<Promise<void>>()
  #failingInFlight = 0
  #wakeAt = Number.POSITIVE_INFINITY
  #wokeAt = Number.NEGATIVE_INFINITY
  #callOff: () => void = () => {}
  #heldSince: number | undefined
  #saidBehind = false
  #lateMs = 0
  #closed = false

  constructor(parts: RoundsParts) {
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

  /** A check of it that is in flight goes on, and is its last. */
  remove(target: Target): void {
    this.#targets.delete(target)
    this.#steady.remove(target)
    this.#failing.remove(target)
  }

  /** Starts no more checks; resolves when none is in flight. */
  async close(): Promise<void> {
    this.#closed = true
    this.#callOff()
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

  /** The target with a free slot that has waited longest, or will be due first. */
  #next(): { target: Target; queue: Agenda<Target> } | undefined {
    const { maxInFlight } = this.#parts
    if (this.#inFlight.size >= maxInFlight) return undefined
    const steady = this.#steady.first
    const failing = this.#failingInFlight < Math.max(1, maxInFlight >> 1) ? this.#failing.first : undefined
    if (failing && !(steady && steady.due <= failing.due)) return { target: failing, queue: this.#failing }
    return steady && { target: steady, queue: this.#steady }
  }

  #start(target: Target, failing: boolean): void {
    const { check, clock, random, intervalMs } = this.#parts
    const nextDue = clock.now() + intervalMs * (0.9 + 0.2 * random())
    if (failing) this.#failingInFlight++
    const run = check(target).then(fails => {
      this.#inFlight.delete(run)
      if (failing) this.#failingInFlight--
      if (this.#targets.has(target)) {
        target.due = nextDue
        const queue = fails ? this.#failing : this.#steady
        queue.add(target)
      }
      this.#arm()
    })
    this.#inFlight.add(run)
  }

  #watchBacklog(now: number): void {
    const earliest = Math.min(this.#steady.first?.due ?? now + 1, this.#failing.first?.due ?? now + 1)
    this.#heldSince = earliest <= now ? (this.#heldSince ?? now) : undefined
    if (this.#saidBehind || now - (this.#heldSince ?? now) <= this.#parts.intervalMs) return
    this.#saidBehind = true
    this.#parts.onBehind()
  }

  #arm(): void {
    const next = this.#closed ? undefined : this.#next()
    if (!next) return
    const at = Math.max(next.target.due, this.#wokeAt + paceMs)
    if (at >= this.#wakeAt) return
    this.#callOff()
    this.#wakeAt = at
    this.#callOff = this.#parts.clock.after(Math.max(0, at - this.#parts.clock.now()), () => this.#wake())
  }
}
