import { hash } from 'node:crypto'
import type { MirrorListener } from '../../clients/etcd/mirror.ts'
import type { Entry } from '../../clients/etcd/rpc.ts'
import type { WatchEvent } from '../../clients/etcd/watches.ts'
import { messageOf, type Problem } from '../../model/error.ts'
import { tame } from '../../model/text/spelling.ts'

/** What becomes of the records of one prefix. */
export interface CatalogListener<Said> {
  /** What a key says, and no longer says. Undefined for what is as good as absent. */
  said(key: string, before: Said | undefined, after: Said | undefined): void
  /** A complete list has been taken in. */
  listed(): void
  /** Some changes have been taken in. */
  changed(): void
}

export interface CatalogOptions<Said> {
  readonly prefix: string
  /** `suffix` is the key behind the prefix. Throws for what is not sound; undefined for what is as good as absent. */
  readonly decode: (suffix: string, value: Uint8Array) => Said | undefined
  readonly listener: CatalogListener<Said>
}

interface Kept<Said> {
  /** Of the value, so that what is written again as it was is no news. */
  readonly digest: string
  /** What it said when it last was sound; undefined if it never was, or if it says nothing. */
  readonly said: Said | undefined
}

/** What one cluster last said, key by key. It outlives connections: a key whose value is spoiled keeps its last sound meaning. */
export class Catalog<Said> implements MirrorListener {
  #options: CatalogOptions<Said>
  #kept = new Map<string, Kept<Said>>()
  #faults = new Map<string, string>()
  #faultChanges = 0
  /** Of the list that is being read. */
  #arrived = new Set<string>()

  constructor(options: CatalogOptions<Said>) {
    this.#options = options
  }

  get size(): number {
    return this.#kept.size
  }

  get prefix(): string {
    return this.#options.prefix
  }

  /** Keys that are not sound, with the reason. */
  get faults(): ReadonlyMap<string, string> {
    return this.#faults
  }

  /** Grows whenever {@link faults} is another than before. */
  get faultChanges(): number {
    return this.#faultChanges
  }

  /** Part of a listing: decoded now, told with the rest. */
  arrived(entries: readonly Entry[]): void {
    for (const { key, value } of entries) {
      this.#arrived.add(key)
      this.#put(key, value)
    }
  }

  /** Mark and sweep: what is not in the list is gone. */
  listed(entries: readonly Entry[]): void {
    const gone = new Set(this.#kept.keys())
    for (const { key, value } of entries) {
      gone.delete(key)
      if (!this.#arrived.has(key)) this.#put(key, value)
    }
    this.#arrived.clear()
    for (const key of gone) this.#drop(key)
    this.#options.listener.listed()
  }

  changed(events: readonly WatchEvent[]): void {
    for (const { kept, entry } of events) {
      if (kept) this.#put(entry.key, entry.value)
      else this.#drop(entry.key)
    }
    this.#options.listener.changed()
  }

  #put(key: string, value: Uint8Array): void {
    const before = this.#kept.get(key)
    const digest = hash('sha256', value, 'base64')
    if (before?.digest === digest) return
    const { prefix, decode, listener } = this.#options
    try {
      const said = decode(key.slice(prefix.length), value)
      this.#kept.set(key, { digest, said })
      this.#mend(key)
      listener.said(key, before?.said, said)
    } catch (error) {
      this.#kept.set(key, { digest, said: before?.said })
      this.#faults.set(key, messageOf(error))
      this.#faultChanges++
    }
  }

  #mend(key: string): void {
    if (this.#faults.delete(key)) this.#faultChanges++
  }

  #drop(key: string): void {
    const said = this.#kept.get(key)?.said
    this.#kept.delete(key)
    this.#mend(key)
    if (said !== undefined) this.#options.listener.said(key, said, undefined)
  }
}

/** Problems that are told one by one; the rest is a number. */
const maxProblems = 1000

export function problemsOf(catalogs: readonly Pick<Catalog<unknown>, 'faults' | 'prefix'>[]): Problem[] {
  return catalogs.flatMap(({ faults, prefix }) => {
    const told = [...faults].slice(0, maxProblems).map(([key, why]) => problem(key, why))
    const untold = faults.size - told.length
    return untold > 0 ? [...told, problem(prefix, `${untold} more keys are not sound`)] : told
  })
}

function problem(key: string, why: string): Problem {
  const message = `${why}; what the key said before stays`
  return { code: 'SOURCE_OBJECT', where: tame(key), message: `${tame(key.split('/').slice(-2).join('/'))}: ${message}` }
}
