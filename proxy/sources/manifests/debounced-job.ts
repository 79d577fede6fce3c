/** Runs a job on request, debounced, and at an interval. */
import type { Clock } from '../../model/time/clock.ts'

export interface DebouncedJobOptions {
  readonly clock: Clock
  /** How long there must be no request before the job runs. */
  readonly debounceMs: number
  /** The interval of runs without a request. */
  readonly everyMs: number
}

/** Under continuous requests the job still runs after this many times `debounceMs`. */
const maxDebounces = 10

/** The job runs at the start, soon after each request, and at the interval; never twice at the same time. */
export class DebouncedJob {
  readonly #run: () => Promise<void>
  readonly #options: DebouncedJobOptions
  #running: Promise<void> | undefined
  #isRequested = false
  #requestedSince: number | undefined
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

  request(): void {
    if (this.#isClosed) return
    const { clock, debounceMs } = this.#options
    this.#requestedSince ??= clock.now()
    const longest = this.#requestedSince + maxDebounces * debounceMs - clock.now()
    this.#stopWaiting()
    this.#stopWaiting = clock.after(Math.max(0, Math.min(debounceMs, longest)), () => this.#begin())
  }

  /** Resolves when the current run has ended; no other starts. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#stopWaiting()
    this.#stopTicking()
    await this.#running
  }

  #begin(): void {
    this.#stopWaiting()
    this.#requestedSince = undefined
    if (this.#running) {
      this.#isRequested = true
      return
    }
    this.#running = this.#run().then(() => {
      this.#running = undefined
      if (!this.#isRequested) return
      this.#isRequested = false
      this.request()
    })
  }
}
