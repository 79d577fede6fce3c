/** The desired keys under one prefix, compared with the stored ones: what still has to be written or deleted. */
import { hash } from 'node:crypto'
import type { Write } from '../clients/etcd/client.ts'
import type { Entry } from '../clients/etcd/rpc.ts'
import type { Batch } from './batch.ts'

interface Wanted {
  readonly value: Uint8Array
  readonly digest: string
}

export class DesiredKeys {
  #wanted = new Map<string, Wanted>()
  #written = new Map<string, string>()
  #differs = new Set<string>()
  #isComplete = false
  #isDrained = false

  get size(): number {
    return this.#wanted.size
  }

  /** Number of keys still to be written or deleted. */
  get pending(): number {
    return this.#differs.size
  }

  keys(): Iterable<string> {
    return this.#wanted.keys()
  }

  /** Whether the desired keys are the full list. Until then, stored keys that are not desired are kept. */
  get isComplete(): boolean {
    return this.#isComplete
  }

  complete(): void {
    this.#isComplete = true
    for (const key of this.#written.keys()) this.#compare(key)
  }

  /** Deletes everything, also when the list is not complete. */
  drain(): void {
    this.#isDrained = true
    this.#wanted.clear()
    for (const key of [...this.#written.keys(), ...this.#differs]) this.#compare(key)
  }

  /** Deletes everything, and waits for a new full list. */
  forget(): void {
    this.#isComplete = false
    this.drain()
  }

  set(key: string, value: Uint8Array): void {
    this.#isDrained = false
    this.#wanted.set(key, { value, digest: digestOf(value) })
    this.#compare(key)
  }

  delete(key: string): void {
    this.#wanted.delete(key)
    this.#compare(key)
  }

  /** Sets what the store holds. A key under another lease counts as not written, since it would expire with that lease. */
  setStored(entries: readonly Entry[], lease: bigint): void {
    this.#written = new Map(
      entries.map(({ key, value, lease: holder }) => [key, holder === lease ? digestOf(value) : 'of another lease']),
    )
    this.#differs.clear()
    for (const key of [...this.#written.keys(), ...this.#wanted.keys()]) this.#compare(key)
  }

  /** Adds pending writes, as many as fit. */
  fill(batch: Batch): void {
    for (const key of this.#differs) {
      const wanted = this.#wanted.get(key)
      if (!batch.add(wanted ? { key, value: wanted.value } : { key, gone: true })) return
    }
  }

  /** The write succeeded; a key that has changed meanwhile stays pending. */
  written(write: Write): void {
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
