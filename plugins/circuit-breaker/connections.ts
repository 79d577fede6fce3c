import type { Host, Table } from '../../proxy/plugin.ts'

/** More backends than this with connections at a time: the count of the one longest unused begins anew. */
const maxBackends = 100_000

/**
 * How many connections each backend has or is being asked for. Kept outside the breaker: that a backend has as many as it may
 * says nothing bad of it.
 */
export class Connections {
  #most: number
  #counts: Table<number>
  #changed: () => void
  #full = new Set<string>()

  constructor(most: number, host: Host, changed: () => void) {
    this.#most = most
    this.#counts = host.table('connections', { max: maxBackends })
    this.#changed = changed
  }

  /** Backends that may have no further one. */
  get full(): ReadonlySet<string> {
    return this.#full
  }

  add(key: string): void {
    if (this.#most === 0) return
    const count = (this.#counts.get(key) ?? 0) + 1
    this.#counts.set(key, count)
    if (count >= this.#most && !this.#full.has(key)) {
      this.#full.add(key)
      this.#changed()
    }
  }

  remove(key: string): void {
    if (this.#most === 0) return
    const count = (this.#counts.get(key) ?? 0) - 1
    if (count > 0) this.#counts.set(key, count)
    else this.#counts.delete(key)
    if (count < this.#most && this.#full.delete(key)) this.#changed()
  }
}
