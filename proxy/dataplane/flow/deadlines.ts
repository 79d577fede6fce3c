/** Time limits of one length, for many at once. */
import { type Link, LinkedList } from '../../model/lists/linked-list.ts'
import type { Clock } from '../../model/time/clock.ts'

export interface Expiring extends Link<Expiring> {
  /** The clock's time; `notWaiting`, or set by {@link Deadlines}. */
  dueAt: number
  expire(): void
}

/** In the place of a time, for one whose limit has not begun, or is over. */
export const notWaiting = -1

/**
 * Limits of equal length expire in the order in which they began, so one timer serves all, and a limit costs a place in a
 * list. Most are stopped before they expire.
 */
export class Deadlines {
  readonly #clock: Clock
  #ms: number
  readonly #waiting = new LinkedList<Expiring>()
  #callOff: (() => void) | undefined

  constructor(clock: Clock, ms: number) {
    this.#clock = clock
    this.#ms = ms
  }

  start(one: Expiring, now: number): void {
    one.dueAt = now + this.#ms
    this.#waiting.append(one)
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
    if (one.dueAt === notWaiting) return
    one.dueAt = notWaiting
    this.#waiting.remove(one)
  }

  close(): void {
    this.#callOff?.()
    for (const one of this.#waiting) this.stop(one)
  }

  /** Until the first expires. */
  #left(): number {
    const { first } = this.#waiting
    return first ? first.dueAt - this.#clock.now() : this.#ms
  }

  #arm(ms: number): void {
    this.#callOff = this.#clock.after(ms, () => this.#expire())
  }

  /** In the order in which they began, which is that of expiry. One that begins during the loop comes last. */
  #expire(): void {
    const now = this.#clock.now()
    for (let one = this.#waiting.first; one; one = this.#waiting.first) {
      if (one.dueAt > now) return this.#arm(one.dueAt - now)
      this.stop(one)
      one.expire()
    }
    this.#callOff = undefined
  }
}
