/** How long to wait before the next attempt, for everything that retries: watches, connections, writes, listeners, resolvers. */
import type { Random } from './clock.ts'

export interface BackoffLimits {
  readonly firstMs: number
  readonly longestMs: number
}

/** The next step of a back-off: the first one, then twice the one before, up to the longest. */
export function doubled(beforeMs: number | undefined, { firstMs, longestMs }: BackoffLimits): number {
  return beforeMs === undefined ? firstMs : Math.min(beforeMs * 2, longestMs)
}

/** `leastMs` is client-go's. After `healthyMs` of success the next failure counts as the first. */
export const backoffMs = { firstMs: 1000, leastMs: 800, longestMs: 30_000, healthyMs: 60_000 } as const

/**
 * Doubles from 1 to 30 s and draws from the upper half of each step, so that clients that were cut off together do not
 * reconnect together. It starts over after a minute of success. A shorter success does not count, since otherwise a server
 * that answers and closes at once would be asked without pause.
 */
export class Backoff {
  readonly #random: Random
  #stepMs: number | undefined

  constructor(random: Random) {
    this.#random = random
  }

  /** `retryAfterMs` is what the server asked for: a lower bound, to which some jitter is added. */
  next(retryAfterMs?: number): number {
    this.#stepMs = doubled(this.#stepMs, backoffMs)
    const own = Math.max(backoffMs.leastMs, this.#stepMs * (0.5 + 0.5 * this.#random()))
    if (retryAfterMs === undefined) return own
    return Math.max(own, retryAfterMs + backoffMs.leastMs * this.#random())
  }

  /** An attempt that succeeded, and how long the success lasted. */
  lasted(ms: number): void {
    if (ms >= backoffMs.healthyMs) this.succeeded()
  }

  /** For attempts whose success has no duration. */
  succeeded(): void {
    this.#stepMs = undefined
  }
}
