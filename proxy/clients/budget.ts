/** What one cluster may take: the limits of the configuration, counted while it is read. */

import { type Limits, overLimitsText } from '../model/cluster.ts'
import { MeshError } from '../model/error.ts'
import type { Clock } from '../model/time/clock.ts'
import { sleep } from '../model/time/sleep.ts'

/** The cluster takes more than its share. Reading stops; what is known stays. */
export class OverLimits extends MeshError {
  constructor(message: string) {
    super('SOURCE_LIMIT', message)
    this.name = 'OverLimits'
  }
}

/** How long to leave a cluster alone that was over its limits. */
export const overLimitsMs = 120_000

/** Shared by everything that reads one cluster. */
export class Budget {
  readonly #limits: Limits
  readonly #clock: Clock
  #objects = 0
  #bytes = 0
  /** When all bytes so far are paid for. */
  #paidAt = Number.NEGATIVE_INFINITY

  constructor(limits: Limits, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
  }

  get objects(): number {
    return this.#objects
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Counts an object of this size; `before` is the size of its last state. Throws OverLimits, and then counts nothing. */
  hold(size: number, before?: number): void {
    const objects = this.#objects + (before === undefined ? 1 : 0)
    const bytes = this.#bytes + size - (before ?? 0)
    // An object that shrinks is taken even if others are too many.
    if (before === undefined || size > before) this.#check(objects, bytes)
    this.#objects = objects
    this.#bytes = bytes
  }

  release(size: number): void {
    this.#objects--
    this.#bytes -= size
  }

  /** Throws OverLimits if one answer is longer than all objects may be. */
  checkAnswer(bytes: number): void {
    this.#check(0, bytes)
  }

  /** Resolves when the cluster may send more: undefined is now. A second's worth may come at once. */
  pace(bytes: number, signal: AbortSignal): Promise<void> | undefined {
    const now = this.#clock.now()
    this.#paidAt = Math.max(this.#paidAt, now - 1000) + (bytes * 1000) / this.#limits.rate
    const waitMs = this.#paidAt - now
    return waitMs > 0 ? sleep(this.#clock, waitMs, signal) : undefined
  }

  #check(objects: number, bytes: number): void {
    const limits = this.#limits
    if (objects > limits.objects) throw overLimits('objects', `more than ${limits.objects} objects`)
    if (bytes > limits.bytes) throw overLimits('bytes', `more than ${limits.bytes} bytes of objects`)
  }
}

export function overLimits(limit: keyof Limits, found: string): OverLimits {
  return new OverLimits(overLimitsText(limit, found))
}

/** An object that no real server has: raising a limit would not help. `what`: `is longer than 100 bytes`. */
export function hugeObject(where: string, what: string): OverLimits {
  return new OverLimits(
    `over its limits: ${where} ${what}, which no API server allows; check the address of the cluster`,
  )
}
