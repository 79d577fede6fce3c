import { hash } from 'node:crypto'
import type { Stored, Write } from './store.ts'

interface Wanted {
  readonly value: Buffer
  readonly digest: string
}

/** etcd takes 128 operations and 1.5 MiB in one request, unless told otherwise. */
const maxWrites = 100
const maxBytes = 1024 * 1024

/** What should stand in the store, what does, and so what is to be written next. */
export class Ledger {
  #wanted = new Map<string, Wanted>()
  #written = new Map<string, string>()
  #differs = new Set<string>()
  #isComplete = false

  get size(): number {
    return this.#wanted.size
  }

  /** Keys that are still to be written. */
  get pending(): number {
    return this.#differs.size
  }

  /** From now on, what is not wanted is to go; before, it may only not have been told yet. */
  get isComplete(): boolean {
    return this.#isComplete
  }

  complete(): void {
    this.#isComplete = true
    for (const key of this.#written.keys()) this.#compare(key)
  }

  want(key: string, value: Buffer): void {
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

  /** As much as fits into one request; empty when all is as it should be. */
  next(): Write[] {
    const writes: Write[] = []
    let size = 0
    for (const key of this.#differs) {
      const wanted = this.#wanted.get(key)
      size += key.length + (wanted?.value.length ?? 0)
      if (writes.length === maxWrites || (writes.length > 0 && size > maxBytes)) break
      writes.push(wanted ? { key, value: wanted.value } : { key, gone: true })
    }
    return writes
  }

  /** These have been written; a key that has become another meanwhile is written again. */
  settle(writes: readonly Write[]): void {
    for (const write of writes) {
      if ('gone' in write) this.#written.delete(write.key)
      else this.#written.set(write.key, digestOf(write.value))
      this.#compare(write.key)
    }
  }

  #compare(key: string): void {
    const wanted = this.#wanted.get(key)
    const written = this.#written.get(key)
    const isRight = wanted ? written === wanted.digest : written === undefined || !this.#isComplete
    if (isRight) this.#differs.delete(key)
    else this.#differs.add(key)
  }
}

function digestOf(value: Uint8Array): string {
  return hash('sha256', value, 'base64')
}
