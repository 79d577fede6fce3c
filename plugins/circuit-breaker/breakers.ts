/** The breakers of all backends. */
import type { Backend, Counter, Host, Table } from '../../proxy/plugin.ts'
import { Breaker, type BreakerOptions } from './breaker.ts'

/** How many breakers are kept; the least recently used is evicted. */
const maxBackends = 10_000

/** One breaker per destination that was dialled, shared by all services and clusters that lead to it. */
export class Breakers {
  #host: Host
  #options: BreakerOptions
  #table: Table<Breaker>
  #opened: Counter
  #closed: Counter
  #changed: () => void
  /** The breakers that let no flow pass now. Usually empty; an evicted breaker leaves it after its rest. */
  #blocking = new Map<string, Breaker>()
  /** How many of these one client alone has opened; usually none. */
  #accused = 0

  constructor(options: BreakerOptions, host: Host, changed: () => void) {
    this.#options = options
    this.#host = host
    this.#table = host.table('breakers', { max: maxBackends })
    this.#opened = host.counter('opened', 'Breakers that opened')
    this.#closed = host.counter('closed', 'Breakers that closed again after a good trial')
    this.#changed = changed
  }

  /** In the order in which they began to block. */
  get blocking(): ReadonlyMap<string, Breaker> {
    return this.#blocking
  }

  /** Whether some of these were opened by the flows of one client alone, which is not this one. */
  spare(client: string): boolean {
    return this.#accused > 0 && [...this.#blocking.values()].some(breaker => spares(breaker, client))
  }

  /** There is more than one client now: closes the breakers that one alone has opened. */
  acquit(): void {
    if (this.#accused > 0) for (const breaker of [...this.#blocking.values()]) breaker.acquit()
  }

  find(key: string): Breaker | undefined {
    return this.#table.get(key)
  }

  of({ key: name, destination: key }: Pick<Backend, 'key' | 'destination'>): Breaker {
    const known = this.#table.get(key)
    if (known) return known
    const { clock, random, log } = this.#host
    const breaker = new Breaker(this.#options, clock, random, (now, before) => {
      if (now !== before) log.info(`breaker.${now}`, { backend: name, ...(now === 'open' && { why: breaker.why }) })
      if (now === 'open') this.#opened.add()
      if (now === 'closed') this.#closed.add()
      this.#update(key, breaker)
    })
    this.#table.set(key, breaker)
    return breaker
  }

  forget(key: string): void {
    this.#table.get(key)?.close()
    this.#table.delete(key)
    if (!this.#blocking.delete(key)) return
    this.#count()
    this.#changed()
  }

  /** The open breakers that failed dials or the connections of several clients have opened, for a successor. */
  save(): { backend: string; restMs: number; why: string }[] {
    return [...this.#blocking].flatMap(([backend, { restMs, why, accuser }]) =>
      restMs === undefined || accuser !== undefined ? [] : { backend, restMs, why },
    )
  }

  /** Of a predecessor; a breaker that was used here already is not touched. */
  restore(backend: string, restMs: number, why: string): void {
    const named = { key: backend, destination: backend }
    if (!this.#table.get(backend)) this.of(named).reopen(restMs, why)
  }

  /** The breakers that are not closed, for status. */
  notClosed(): { backend: string; state: string }[] {
    return [...this.#table.entries()]
      .filter(([, breaker]) => breaker.state !== 'closed')
      .map(([backend, breaker]) => ({ backend, state: breaker.description }))
  }

  /** The options have changed. */
  configure(): void {
    for (const [, breaker] of this.#table.entries()) breaker.configure()
  }

  close(): void {
    for (const [, breaker] of this.#table.entries()) breaker.close()
    for (const breaker of this.#blocking.values()) breaker.close()
  }

  #update(key: string, breaker: Breaker): void {
    if (!breaker.passes) this.#blocking.set(key, breaker)
    else if (this.#blocking.get(key) === breaker) this.#blocking.delete(key)
    this.#count()
    this.#changed()
  }

  #count(): void {
    this.#accused = 0
    for (const { accuser } of this.#blocking.values()) if (accuser !== undefined) this.#accused++
  }
}

/**
 * Whether a breaker is open for the only client that there was, and not for this one. The unspecified address is no client: views
 * ask with it what holds for all.
 */
export function spares({ accuser }: Breaker, client: string): boolean {
  return accuser !== undefined && accuser !== client && client !== '0.0.0.0'
}
