import type { Random } from './clock.ts'

/** How long to wait before the next attempt. */
export const backoffMs = { first: 800, longest: 30_000, healthy: 60_000 } as const

/**
 * Doubles from 0.8 to 30 s, and draws from the upper half of each step, so that clients that were cut off together do not
 * come back together. A minute of health makes it begin anew; a shorter one does not, or a server that answers and then
 * closes at once would be asked without pause.
 */
export class Backoff {
  readonly #random: Random
  #failures = 0

  constructor(random: Random) {
    this.#random = random
  }

  /** `retryAfterMs`: what the server asked for; it is kept, and a little is added for the same reason. */
  next(retryAfterMs?: number): number {
    const step = Math.min(backoffMs.first * 2 ** Math.min(this.#failures, 16), backoffMs.longest)
    this.#failures++
    const own = Math.max(backoffMs.first, step * (0.5 + 0.5 * this.#random()))
    if (retryAfterMs === undefined) return own
    return Math.max(own, retryAfterMs + backoffMs.first * this.#random())
  }

  /** An attempt that went well, and for how long. */
  lasted(ms: number): void {
    if (ms >= backoffMs.healthy) this.succeeded()
  }

  /** For attempts that are over when they have gone well. */
  succeeded(): void {
    this.#failures = 0
  }
}
