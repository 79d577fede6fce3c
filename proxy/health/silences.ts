/**
 * Connections that a backend leaves without a first byte. A process that stands still accepts, since its kernel does, so that dials
 * and tcp checks find nothing wrong. They count as early resets do, by distinct clients.
 */
import { Complaints } from '../model/flows/early-resets.ts'

/** Those that lie so far apart are no series. */
const seriesMs = 60_000
/** Of the connections that wait; if one of them is answered after all, the backend goes on. */
const maxWaiting = 64

export class Silences extends Complaints {
  #since: number | undefined
  readonly #waiting = new Set<number>()

  /** A connection begins to count at this time. Those of an earlier series are forgotten. */
  wait(flow: number, now: number): void {
    if (this.#since === undefined || now - this.#since > seriesMs) {
      this.clear()
      this.#since = now
    }
    if (this.#waiting.size < maxWaiting) this.#waiting.add(flow)
  }

  /** Whether a connection that began then and was answered shows that the backend answers. */
  isContradicted(flow: number, began: number): boolean {
    return this.#waiting.has(flow) || (this.#since !== undefined && began >= this.#since)
  }

  get text(): string {
    return `it sent no byte on ${this.counts}, though they had asked`
  }

  override clear(): void {
    super.clear()
    this.#since = undefined
    this.#waiting.clear()
  }
}
