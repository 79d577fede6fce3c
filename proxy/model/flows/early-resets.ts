/**
 * Connections that a backend resets before its first byte. Its process may be broken, or it may dislike what one client sends, so
 * they count by distinct clients: nobody learns from one client alone that a backend fails. Failed dials need no such care, since
 * a client has no part in them.
 */
import type { Totals } from '../flow.ts'
import type { Clock } from '../time/clock.ts'

/** The backend accepted, got a request, and reset within a second without an answer. */
export function isEarlyReset({ reason, sent, received, ms }: Totals): boolean {
  return reason === 'backend-reset' && sent > 0 && received === 0 && ms < 1000
}

/** A client without a flow for this long is no longer one of the recent ones. */
const recentMs = 10 * 60_000

interface Seen {
  readonly address: string
  at: number
}

/** The addresses of the clients that were seen last, at most `max` of them. */
export class RecentClients {
  #max: number
  #clock: Clock
  /** Oldest first. */
  #seen = new Map<string, Seen>()
  #last: Seen | undefined

  constructor(max: number, clock: Clock) {
    this.#max = max
    this.#clock = clock
  }

  /** A flow of this client begins. True if it was not among the recent ones. */
  add(address: string): boolean {
    const now = this.#clock.now()
    if (this.#last?.address === address) {
      this.#last.at = now
      return false
    }
    const known = this.#seen.get(address)
    if (known) this.#seen.delete(address)
    const seen = known ?? { address, at: now }
    seen.at = now
    this.#last = seen
    this.#seen.set(address, seen)
    if (this.#seen.size > this.#max) this.#removeOldest()
    return !known
  }

  get size(): number {
    const since = this.#clock.now() - recentMs
    for (const seen of this.#seen.values()) {
      if (seen.at >= since) break
      if (seen === this.#last) this.#last = undefined
      this.#seen.delete(seen.address)
    }
    return this.#seen.size
  }

  /** Remembers so many from now on. */
  setMax(max: number): void {
    this.#max = max
    while (this.#seen.size > max) this.#removeOldest()
  }

  #removeOldest(): void {
    for (const [address] of this.#seen) {
      this.#seen.delete(address)
      return
    }
  }
}

/** What the clients of one backend have suffered from it. */
export class Complaints {
  #limit: number
  #connections = 0
  #clients = new Set<string>()

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Another limit; what was counted stays. */
  setLimit(limit: number): void {
    this.#limit = limit
  }

  /**
   * One more. True when the backend is to blame: after `limit` of them by as many clients, or of all recent clients if there are
   * fewer. A single client counts only if there is no other, as in a sidecar.
   */
  add(client: string, recent: RecentClients): boolean {
    this.#connections++
    if (this.#clients.size < this.#limit) this.#clients.add(client)
    return this.#connections >= this.#limit && this.#clients.size >= Math.min(this.#limit, Math.max(1, recent.size))
  }

  /** The client, if all are of one. */
  get onlyClient(): string | undefined {
    const [first] = this.#clients
    return this.#clients.size === 1 ? first : undefined
  }

  /** `5 connections of 3 clients`, for logs and explanations. */
  protected get counts(): string {
    const clients = this.#clients.size === 1 ? 'its only client' : `${this.#clients.size} clients`
    return `${this.#connections} connections of ${clients}`
  }

  /** At the end of each flow that was answered: V8 makes a new table for an empty set that is cleared. */
  clear(): void {
    if (this.#connections === 0) return
    this.#connections = 0
    this.#clients.clear()
  }
}

/** The early resets of one backend since it last answered anybody. */
export class EarlyResets extends Complaints {
  get text(): string {
    return `it reset ${this.counts} before its first byte`
  }
}
