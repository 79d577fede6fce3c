/** An abort signal for a stream that has gone silent. */
import type { Clock } from '../../model/time/clock.ts'

/** Aborts when `touch` has not been called for `ms`. Uses one timer, not one per call of `touch`. */
export class IdleDeadline {
  readonly #clock: Clock
  readonly #ms: number
  readonly #controller = new AbortController()
  #heardAt: number
  #cancel: () => void

  constructor(clock: Clock, ms: number) {
    this.#clock = clock
    this.#ms = ms
    this.#heardAt = clock.now()
    this.#cancel = clock.after(ms, () => this.#look())
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  touch(): void {
    this.#heardAt = this.#clock.now()
  }

  stop(): void {
    this.#cancel()
  }

  #look(): void {
    const leftMs = this.#heardAt + this.#ms - this.#clock.now()
    if (leftMs <= 0) this.#controller.abort()
    else this.#cancel = this.#clock.after(leftMs, () => this.#look())
  }
}
