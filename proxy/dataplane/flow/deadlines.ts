import type { Clock } from '../../model/time/clock.ts'

export interface Expiring {
  /** By the clock; set by {@link Deadlines}. */
  dueAt: number
  expire(): void
}

/**
 * Time limits of one length, for many at a time and most of them never reached: they run out in the order in which they
 * began, so one timer of the clock serves all, and a limit costs an entry in a list.
 */
export class Deadlines {
  readonly #clock: Clock
  readonly #ms: number
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

  /** Does nothing to one that is not waiting. */
  stop(one: Expiring): void {
    this.#waiting.delete(one)
  }

  close(): void {
    this.#callOff?.()
    this.#waiting.clear()
  }

  #arm(ms: number): void {
    this.#callOff = this.#clock.after(ms, () => this.#expire())
  }

  /** Those that were stopped are gone already, so what is first is due first; what begins meanwhile comes last. */
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
