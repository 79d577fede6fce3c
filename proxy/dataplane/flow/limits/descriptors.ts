/**
 * How many file descriptors flows may hold. A client is accepted only while its dial will find one too, and the rest of the
 * process (the admin server, DNS over TCP, checks, sources) keeps its own.
 */
import { descriptorLimit, openDescriptors } from '../../../model/limits/descriptors.ts'
import type { DescriptorReserve } from '../../engine.ts'

const measureMs = 5000

/** Two for a connection, one for a UDP session. */
export const perConnection = 2

/** For an engine that is used alone. */
const few: DescriptorReserve = { most: 16, held: () => 0 }

export class Descriptors {
  /** Infinite where the system does not tell. */
  most = Number.POSITIVE_INFINITY
  readonly #reserve: DescriptorReserve
  #measuredAt = Number.NEGATIVE_INFINITY

  constructor(reserve = few) {
    this.#reserve = reserve
  }

  /** Called about every second; `held` is what flows hold when it is asked. Counts what the rest of the process holds, every 5 s. */
  measure(held: () => number, now: number): void {
    const limit = descriptorLimit
    if (limit === undefined || !openDescriptors || now - this.#measuredAt < measureMs) return
    this.#measuredAt = now
    const { most, held: inReserve } = this.#reserve
    const divide = (open: number) => {
      const others = Math.max(open - held() - inReserve(), 0)
      this.most = Math.max(limit - others - most, 0)
    }
    const open = openDescriptors()
    if (typeof open === 'number') divide(open)
    else void open.then(divide, () => {})
  }

  /** A listener is to be opened: false if none may. It takes one for good. */
  takeForListener(held: number): boolean {
    if (this.most - held < 1) return false
    this.most--
    return true
  }
}
