/** How long to wait before the next attempt, for everything that retries: watches, connections, writes. */
import type { Random } from './clock.ts'

/** `least` is client-go's; after `healthy` of success the next failure counts as the first. */
export const backoffMs = { first: 1000, least: 800, longest: 30_000, healthy: 60_000 } as const

/**
 * Doubles from 1 to 30 s and draws from the upper half of each step, so that clients that were cut off together do not
 * reconnect together. It starts over after a minute of success. A shorter success does not count, since otherwise a server
 * that answers and closes at once would be asked without pause.
 */
export class Backoff {
  readonly #random: Random
  #failures = 0

  constructor(random: Random) {
    this.#random = random
  }

  /** `retryAfterMs` is what the server asked for: a lower bound, to which some jitter is added. */
  next(retryAfterMs?: number): number {
    const step = Math.min(backoffMs.first * 2 ** Math.min(this.#failures, 16), backoffMs.longest)
    this.#failures++
    const own = Math.max(backoffMs.least, step * (0.5 + 0.5 * this.#random()))
    if (retryAfterMs === undefined) return own
    return Math.max(own, retryAfterMs + backoffMs.least * this.#random())
  }

  /** An attempt that succeeded, and how long the success lasted. */
  lasted(ms: number): void {
    if (ms >= backoffMs.healthy) this.succeeded()
  }

  /** For attempts whose success has no duration. */
  succeeded(): void {
    this.#failures = 0
  }
}
