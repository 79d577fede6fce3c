/** Calls to a service, each by a new connection, until they are stopped. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { eventually } from '../../../support/eventually.ts'
import { patienceMs } from './processes.ts'

export interface Call {
  readonly began: number
  readonly name?: string
  readonly error?: string
}

const workers = 2
const pauseMs = 20

export class Load {
  readonly calls: Call[] = []
  readonly #call: () => Promise<string>
  readonly #running: Promise<unknown>
  readonly #inFlight = new Set<Promise<unknown>>()
  #stopped = false

  constructor(call: () => Promise<string>) {
    this.#call = call
    this.#running = Promise.all(Array.from({ length: workers }, () => this.#work()))
  }

  /** Waits until the latest calls, all begun after this one, were answered by exactly these pods. */
  answeredBy(names: readonly string[], latest = 8): Promise<void> {
    const since = performance.now()
    return eventually(() => {
      const answered = this.calls.filter(({ began }) => began >= since).slice(-latest)
      const seen = [...new Set(answered.map(({ name, error }) => name ?? `${error}`))].sort()
      assert.ok(answered.length >= latest, `${answered.length} calls answered by ${seen}`)
      assert.deepEqual(seen, [...names].sort())
    }, patienceMs)
  }

  /** The errors of calls that began from `since` on. */
  errors(since = 0): string[] {
    return this.calls.flatMap(({ began, error }) => (error !== undefined && began >= since ? [error] : []))
  }

  /** Resolves when the calls that are in flight now are over. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#inFlight)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
  }

  async #work(): Promise<void> {
    while (!this.#stopped) {
      const began = performance.now()
      const call = this.#call()
      this.#inFlight.add(call)
      try {
        this.calls.push({ began, name: await call })
      } catch (error) {
        this.calls.push({ began, error: (error as Error).message })
      }
      this.#inFlight.delete(call)
      await sleep(pauseMs)
    }
  }
}
