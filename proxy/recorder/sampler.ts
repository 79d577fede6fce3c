/** Which flows are recorded when there are many: all up to a rate, beyond it one in sixteen. */

/** A power of two. */
export const sampleOf = 16

/** The rate holds in spans of this length, so that a burst is cut early and the next one is seen. */
const spanMs = 100

export class Sampler {
  #left = 0
  #spanEnd = Number.NEGATIVE_INFINITY
  #perSpan: number
  #over = 0
  /** Left out since the start. */
  skipped = 0

  /** `rate`: records a second. */
  constructor(rate: number) {
    this.#perSpan = perSpanOf(rate)
  }

  setRate(rate: number): void {
    this.#perSpan = perSpanOf(rate)
    this.#spanEnd = Number.NEGATIVE_INFINITY
  }

  /** `now`: monotonic milliseconds. */
  take(now: number): boolean {
    if (now >= this.#spanEnd) {
      this.#spanEnd = now + spanMs
      this.#left = this.#perSpan
    }
    if (--this.#left >= 0) return true
    if ((this.#over++ & (sampleOf - 1)) === 0) return true
    this.skipped++
    return false
  }
}

function perSpanOf(rate: number): number {
  return Math.max(1, Math.round((rate * spanMs) / 1000))
}
