/** Counts the connections of each backend, for `maxConnections`. */
import type { Host, Table } from '../../proxy/plugin.ts'

/** How many counts are kept; the least recently used is evicted, and starts from 0 again. */
const maxBackends = 100_000

/** Connections that are open or being dialled. Separate from the breaker: reaching the limit is not a fault of the backend. */
export class Connections {
  #limit: number
  /** One that is 0 stays until it is evicted: a backend is rarely without connections for long. */
  #counts: Table<{ open: number }>
  #changed: () => void
  #full = new Set<string>()

  constructor(limit: number, host: Host, changed: () => void) {
    this.#limit = limit
    this.#counts = host.table('connections', { max: maxBackends })
    this.#changed = changed
  }

  /** Backends at the limit. */
  get full(): ReadonlySet<string> {
    return this.#full
  }

  /** Connections are counted without a limit too, so that one that comes by a reload knows them. */
  setLimit(limit: number): void {
    if (limit === this.#limit) return
    this.#limit = limit
    this.#full.clear()
    for (const [key, { open }] of this.#counts.entries()) if (this.#isFull(open)) this.#full.add(key)
  }

  add(key: string): void {
    let count = this.#counts.get(key)
    if (!count) {
      count = { open: 0 }
      this.#counts.set(key, count)
    }
    count.open++
    if (this.#isFull(count.open) && !this.#full.has(key)) {
      this.#full.add(key)
      this.#changed()
    }
  }

  remove(key: string): void {
    const count = this.#counts.get(key)
    if (count && count.open > 0) count.open--
    if (!this.#isFull(count?.open ?? 0) && this.#full.delete(key)) this.#changed()
  }

  #isFull(count: number): boolean {
    return this.#limit > 0 && count >= this.#limit
  }
}
