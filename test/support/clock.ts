/** A clock that tests advance by hand. */
import type { Clock } from '../../proxy/model/time/clock.ts'

/** Stands still until `advance`, which runs due timers in order and lets promises settle in between. */
export class FakeClock implements Clock {
  #now = 0
  #offset = 1_800_000_000_000
  #sequence = 0
  #timers = new Map<number, { at: number; every: number | undefined; run: () => void }>()

  now(): number {
    return this.#now
  }

  wall(): number {
    return this.#offset + this.#now
  }

  /** Time passes within one turn of the event loop, as in code that blocks: no timer runs. */
  pass(ms: number): void {
    this.#now += ms
  }

  /** Steps the wall clock forward or back, as NTP might. */
  jump(ms: number): void {
    this.#offset += ms
  }

  after(ms: number, run: () => void): () => void {
    return this.#add(ms, undefined, run)
  }

  every(ms: number, run: () => void): () => void {
    return this.#add(ms, ms, run)
  }

  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    for (;;) {
      await settled()
      const due = [...this.#timers].filter(([, t]) => t.at <= end).sort(([i, a], [j, b]) => a.at - b.at || i - j)[0]
      if (!due) break
      const [id, timer] = due
      this.#now = Math.max(this.#now, timer.at)
      if (timer.every === undefined) this.#timers.delete(id)
      else timer.at += timer.every
      timer.run()
    }
    this.#now = end
    await settled()
  }

  /** Time passes and nothing runs, as in a process that gets no turn: what is due runs late, at the next `advance`. */
  skip(ms: number): void {
    this.#now += ms
  }

  /** Number of pending timers, for tests of leaks. */
  get waiting(): number {
    return this.#timers.size
  }

  #add(ms: number, every: number | undefined, run: () => void): () => void {
    const id = ++this.#sequence
    this.#timers.set(id, { at: this.#now + ms, every, run })
    return () => this.#timers.delete(id)
  }
}

/** Lets pending promises and immediates run. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise(resolve => setImmediate(resolve))
}
