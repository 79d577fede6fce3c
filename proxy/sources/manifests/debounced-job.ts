import type { Clock } from '../../model/time/clock.ts'

export interface DebouncedJobOptions {
  readonly clock: Clock
  /** How long nobody must have asked before a round begins. */
  readonly debounceMs: number
  /** A round without anyone asking. */
  readonly everyMs: number
}

/** Someone who asks all the time still gets a round after this many times `debounceMs`. */
const patience = 10

/** Runs a job in rounds, never two at a time: at once, then soon after it is asked for, and every now and then unasked. */
export class DebouncedJob {
  readonly #run: () => Promise<void>
  readonly #options: DebouncedJobOptions
  #running: Promise<void> | undefined
  #isAsked = false
  #askedSince: number | undefined
  #isClosed = false
  #stopWaiting: () => void = () => {}
  #stopTicking: () => void = () => {}

  /** `run` must not reject. */
  constructor(run: () => Promise<void>, options: DebouncedJobOptions) {
    this.#run = run
    this.#options = options
  }

  start(): void {
    const { clock, everyMs } = this.#options
    this.#stopTicking = clock.every(everyMs, () => this.#begin())
    this.#begin()
  }

  ask(): void {
    if (this.#isClosed) return
    const { clock, debounceMs } = this.#options
    this.#askedSince ??= clock.now()
    const longest = this.#askedSince + patience * debounceMs - clock.now()
    this.#stopWaiting()
    this.#stopWaiting = clock.after(Math.max(0, Math.min(debounceMs, longest)), () => this.#begin())
  }

  /** Resolves when the round that is under way has ended; no other begins. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#stopWaiting()
    this.#stopTicking()
    await this.#running
  }

  #begin(): void {
    this.#stopWaiting()
    this.#askedSince = undefined
    if (this.#running) {
      this.#isAsked = true
      return
    }
    this.#running = this.#run().then(() => {
      this.#running = undefined
      if (!this.#isAsked) return
      this.#isAsked = false
      this.ask()
    })
  }
}
