import { hash } from 'node:crypto'
import type { Batch } from './batch.ts'
import type { Stored, Write } from './store.ts'

interface Wanted {
  readonly value: Uint8Array
  readonly digest: string
}

/** What should stand in the store under one prefix, what does, and so what is to be written next. */
export class Ledger {
  #wanted = new Map<string, Wanted>()
  #written = new Map<string, string>()
  #differs = new Set<string>()
  #isComplete = false
  #isDrained = false

  get size(): number {
    return this.#wanted.size
  }

  /** Keys that are still to be written. */
  get pending(): number {
    return this.#differs.size
  }

  keys(): Iterable<string> {
    return this.#wanted.keys()
  }

  /** From now on, what is not wanted is to go; before, it may only not have been told yet. */
  get isComplete(): boolean {
    return this.#isComplete
  }

  complete(): void {
    this.#isComplete = true
    for (const key of this.#written.keys()) this.#compare(key)
  }

  /** Everything is to go, whether or not all of it has been told. */
  drain(): void {
    this.#isDrained = true
    this.#wanted.clear()
    for (const key of [...this.#written.keys(), ...this.#differs]) this.#compare(key)
  }

  /** Everything is to go, and whatever comes then is a new beginning. */
  forget(): void {
    this.#isComplete = false
    this.drain()
  }

  want(key: string, value: Uint8Array): void {
    this.#isDrained = false
    this.#wanted.set(key, { value, digest: digestOf(value) })
    this.#compare(key)
  }

  unwant(key: string): void {
    this.#wanted.delete(key)
    this.#compare(key)
  }

  /** Takes over what the store holds. A key of another lease would go with that lease, so it counts as not written. */
  found(entries: readonly Stored[], lease: bigint): void {
    this.#written = new Map(
      entries.map(({ key, value, lease: holder }) => [key, holder === lease ? digestOf(value) : 'of another lease']),
    )
    this.#differs.clear()
    for (const key of [...this.#written.keys(), ...this.#wanted.keys()]) this.#compare(key)
  }

  /** Adds what is to be written, as much as fits. */
  fill(batch: Batch): void {
    for (const key of this.#differs) {
      const wanted = this.#wanted.get(key)
      if (!batch.add(wanted ? { key, value: wanted.value } : { key, gone: true })) return
    }
  }

  /** This has been written; a key that has become another meanwhile is written again. */
  settle(write: Write): void {
    if ('gone' in write) this.#written.delete(write.key)
    else this.#written.set(write.key, digestOf(write.value))
    this.#compare(write.key)
  }

  #compare(key: string): void {
    const wanted = this.#wanted.get(key)
    const written = this.#written.get(key)
    const mayStay = !this.#isComplete && !this.#isDrained
    const isRight = wanted ? written === wanted.digest : written === undefined || mayStay
    if (isRight) this.#differs.delete(key)
    else this.#differs.add(key)
  }
}

function digestOf(value: Uint8Array): string {
  return hash('sha256', value, 'base64')
}
