/** Time limits of one length, for many at once. */
import type { Clock } from '../../model/time/clock.ts'

export interface Expiring {
  /** The clock's time; set by {@link Deadlines}. */
  dueAt: number
  expire(): void
}

/**
 * Limits of equal length expire in the order in which they began, so one timer serves all, and a limit costs an entry in a
 * list. Most are stopped before they expire.
 */
export class Deadlines {
  readonly #clock: Clock
  #ms: number
  readonly #waiting = new Set<Expiring>()
  #callOff: (() => void) | undefined

  constructor(clock: Clock, ms: number) {
    this.#clock = clock
    this.#ms = ms
  }

  start(one: Expiring, now: number): void {
    one.dueAt = now + this.#ms
    this.#waiting.add(one)
    if (!this.#callOff) this.#arm(this.#ms)
  }

  /** Another length, also for those that have begun. All move alike, so their order stays. */
  change(ms: number): void {
    const longer = ms - this.#ms
    this.#ms = ms
    if (longer === 0) return
    for (const one of this.#waiting) one.dueAt += longer
    if (!this.#callOff) return
    this.#callOff()
    this.#arm(Math.max(0, this.#left()))
  }

  /** Has no effect on one that has not begun or has expired. */
  stop(one: Expiring): void {
    this.#waiting.delete(one)
  }

  close(): void {
    this.#callOff?.()
    this.#waiting.clear()
  }

  /** Until the first expires. */
  #left(): number {
    const [first] = this.#waiting
    return first ? first.dueAt - this.#clock.now() : this.#ms
  }

  #arm(ms: number): void {
    this.#callOff = this.#clock.after(ms, () => this.#expire())
  }

  /** In order of insertion, which is the order of expiry. One that begins during the loop comes last. */
  #expire(): void {
    const now = this.#clock.now()
    for (const one of this.#waiting) {
      if (one.dueAt > now) return this.#arm(one.dueAt - now)
      this.#waiting.delete(one)
      one.expire()
    }
    this.#callOff = undefined
  }
}
