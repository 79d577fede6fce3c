import type { Counter, Host, Table } from '../../proxy/plugin.ts'
import { Breaker, type BreakerOptions } from './breaker.ts'

/** How many backends are watched at a time; the one longest unused makes room. */
const maxBackends = 10_000

/** A breaker for each backend that was dialled, whichever service it was dialled for: that it cannot be reached is its own fact. */
export class Breakers {
  #host: Host
  #options: BreakerOptions
  #table: Table<Breaker>
  #opened: Counter
  #closed: Counter
  #changed: () => void
  /** Those that let nothing pass now. Usually empty; one that was forgotten leaves when its rest is over. */
  #blocking = new Map<string, Breaker>()

  constructor(options: BreakerOptions, host: Host, changed: () => void) {
    this.#options = options
    this.#host = host
    this.#table = host.table('breakers', { max: maxBackends })
    this.#opened = host.counter('opened', 'Breakers that opened')
    this.#closed = host.counter('closed', 'Breakers that closed again after a good trial')
    this.#changed = changed
  }

  get blocking(): ReadonlyMap<string, Breaker> {
    return this.#blocking
  }

  find(key: string): Breaker | undefined {
    return this.#table.get(key)
  }

  of(key: string): Breaker {
    const known = this.#table.get(key)
    if (known) return known
    const { clock, random, log } = this.#host
    const breaker = new Breaker(this.#options, clock, random, (now, before) => {
      if (now !== before) log.info(`breaker.${now}`, { backend: key })
      if (now === 'open') this.#opened.add()
      if (now === 'closed') this.#closed.add()
      this.#sort(key, breaker)
    })
    this.#table.set(key, breaker)
    return breaker
  }

  forget(key: string): void {
    this.#table.get(key)?.close()
    this.#table.delete(key)
    if (this.#blocking.delete(key)) this.#changed()
  }

  /** Those that are not closed, as status shows them. */
  told(): { backend: string; state: string }[] {
    return [...this.#table.entries()]
      .filter(([, breaker]) => breaker.state !== 'closed')
      .map(([backend, breaker]) => ({ backend, state: breaker.words }))
  }

  close(): void {
    for (const [, breaker] of this.#table.entries()) breaker.close()
    for (const breaker of this.#blocking.values()) breaker.close()
  }

  #sort(key: string, breaker: Breaker): void {
    if (!breaker.passes) this.#blocking.set(key, breaker)
    else if (this.#blocking.get(key) === breaker) this.#blocking.delete(key)
    this.#changed()
  }
}
