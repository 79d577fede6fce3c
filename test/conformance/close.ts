/**
 * The conformance suite of closing: whatever an asynchronous client is doing, `close` ends within a bound, and after it
 * nothing is called back and no socket or timer is left. Run for each client, and for each phase that it has.
 */
import assert from 'node:assert/strict'
import type { Test } from 'tap'
import { type Clock, systemClock } from '../../proxy/model/time/clock.ts'
import { eventually } from '../support/eventually.ts'
import { socketDescriptors } from '../support/faults.ts'

/** A client that is in the phase. */
export interface Begun {
  close(): unknown
  /** Callbacks so far, or whatever else must not grow after `close`. */
  calls?(): number
  /** What would call it back: the server answers, the file changes. */
  after?(): unknown
}

/** Prepares what the client will meet, such as a server; the returned function creates the client and waits for the phase. */
export type Phase = (t: Test, clock: CountingClock) => Promise<() => Promise<Begun>>

/** Real time, and the number of its timers. */
export class CountingClock implements Clock {
  readonly #pending = new Set<object>()

  get waiting(): number {
    return this.#pending.size
  }

  now(): number {
    return systemClock.now()
  }

  wall(): number {
    return systemClock.wall()
  }

  after(ms: number, run: () => void): () => void {
    const timer = {}
    this.#pending.add(timer)
    const cancel = systemClock.after(ms, () => {
      this.#pending.delete(timer)
      run()
    })
    return () => {
      this.#pending.delete(timer)
      cancel()
    }
  }

  every(ms: number, run: () => void): () => void {
    const timer = {}
    this.#pending.add(timer)
    const cancel = systemClock.every(ms, run)
    return () => {
      this.#pending.delete(timer)
      cancel()
    }
  }
}

/** An answer to `close` that takes longer is none. */
const boundMs = 3000

export function examineClose(t: Test, client: string, phases: Readonly<Record<string, Phase>>): void {
  for (const [phase, prepare] of Object.entries(phases)) {
    t.test(`${client}: closed while ${phase}`, async t => {
      const clock = new CountingClock()
      const begin = await prepare(t, clock)
      const before = new Set(socketDescriptors())
      const begun = await begin()
      const at = performance.now()
      await begun.close()
      const tookMs = performance.now() - at
      t.ok(tookMs < boundMs, `it took ${Math.round(tookMs)} ms`)
      const calls = begun.calls?.()
      await begun.after?.()
      await eventually(() => {
        const left = socketDescriptors().filter(socket => !before.has(socket))
        assert.deepEqual(left, [], 'sockets are left')
        assert.equal(clock.waiting, 0, 'timers are left')
      })
      // No event marks the absence of a call.
      await new Promise(resolve => setTimeout(resolve, 50))
      t.equal(begun.calls?.(), calls, 'nothing is called back')
    })
  }
}
