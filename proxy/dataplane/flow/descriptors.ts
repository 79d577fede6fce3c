/**
 * How many file descriptors flows may hold. A client is accepted only while its dial will find one too, and the rest of the
 * process (checks, sources, DNS) keeps a few.
 */
import { readdirSync, readFileSync } from 'node:fs'

/** Left for the rest of the process. */
const reserve = 16
const measureMs = 5000

/** Two for a connection, one for a UDP session. */
export const perConnection = 2

export class Descriptors {
  /** Infinite where the system does not tell. */
  most = Number.POSITIVE_INFINITY
  readonly #limit = softLimit()
  #measuredAt = Number.NEGATIVE_INFINITY

  /** Called about every second; `held` is what flows hold now. Counts what the rest of the process holds, every 5 s. */
  measure(held: number, now: number): void {
    if (this.#limit === undefined || now - this.#measuredAt < measureMs) return
    this.#measuredAt = now
    const others = Math.max(readdirSync('/proc/self/fd').length - held, 0)
    this.most = Math.max(this.#limit - others - reserve, 0)
  }
}

/** The limit of `ulimit -n`; undefined without /proc. */
function softLimit(): number | undefined {
  try {
    const found = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return found === undefined ? undefined : Number(found)
  } catch {
    return undefined
  }
}
