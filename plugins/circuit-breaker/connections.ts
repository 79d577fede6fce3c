/** Counts the connections of each backend, for `maxConnections`. */
import type { Host, Table } from '../../proxy/plugin.ts'

/** How many counts are kept; the least recently used is evicted, and starts from 0 again. */
const maxBackends = 100_000

/** Connections that are open or being dialled. Separate from the breaker: reaching the limit is not a fault of the backend. */
export class Connections {
  #limit: number
  #counts: Table<number>
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
    for (const [key, count] of this.#counts.entries()) if (this.#isFull(count)) this.#full.add(key)
  }

  add(key: string): void {
    const count = (this.#counts.get(key) ?? 0) + 1
    this.#counts.set(key, count)
    if (this.#isFull(count) && !this.#full.has(key)) {
      this.#full.add(key)
      this.#changed()
    }
  }

  remove(key: string): void {
    const count = (this.#counts.get(key) ?? 0) - 1
    if (count > 0) this.#counts.set(key, count)
    else this.#counts.delete(key)
    if (!this.#isFull(count) && this.#full.delete(key)) this.#changed()
  }

  #isFull(count: number): boolean {
    return this.#limit > 0 && count >= this.#limit
  }
}
