/** Reads the etcd keys of one resource: decodes each value, passes the objects to the assembler, and remembers bad values. */
import { hash } from 'node:crypto'
import type { MirrorListener } from '../../clients/etcd/mirror.ts'
import type { Entry } from '../../clients/etcd/rpc.ts'
import type { WatchEvent } from '../../clients/etcd/watches.ts'
import { messageOf, type Problem } from '../../model/error.ts'
import { tame } from '../../model/text/spelling.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { ClusterObject, Kind } from '../objects.ts'
import type { ServiceAssembler } from '../service-assembler.ts'

export interface RecordReaderOptions {
  /** Ends in a slash; the rest of a key is `NAMESPACE/NAME`, or the name of a node. */
  readonly prefix: string
  /** The objects that one record may become. */
  readonly kinds: readonly Kind[]
  /** Throws for a bad value. An empty list means the same as an absent key. */
  readonly decode: (suffix: string, value: Uint8Array) => readonly ClusterObject[]
  readonly assembler: ServiceAssembler
  /** A list has been started. */
  readonly started: () => void
  /** A complete list has been read. */
  readonly listed: () => void
  /** The list that was started cannot be read. */
  readonly skipped: () => void
  /** Some changes have been read. */
  readonly changed: () => void
  /** Whether a key that is deleted may be about to be replaced by one of another resource. */
  readonly mayMove: () => boolean
  readonly clock: Clock
}

/**
 * How long a deleted key stays in use where its service may move to another resource: etcd does not order the events of two
 * ranges, and a writer may delete first.
 */
export const moveMs = 2000

interface Known {
  /** SHA-256 of the value, so that rewriting the same value is not a change. */
  readonly digest: string
  /** Whether the assembler has objects of this key. */
  readonly isUsed: boolean
}

/** Outlives connections. A key whose value becomes bad keeps the objects of its last good value. */
export class RecordReader implements MirrorListener {
  readonly #options: RecordReaderOptions
  readonly #known = new Map<string, Known>()
  readonly #faults = new Map<string, string>()
  #faultChanges = 0
  #used = 0
  /** Keys of the list that is being read. */
  readonly #arrived = new Set<string>()
  /** Deleted keys that are still in use, with what ends that. */
  readonly #leaving = new Map<string, symbol>()
  readonly #timers = new Set<() => void>()

  constructor(options: RecordReaderOptions) {
    this.#options = options
  }

  /** Records in use. */
  get size(): number {
    return this.#used
  }

  get prefix(): string {
    return this.#options.prefix
  }

  /** Keys with a bad value, and the reason. */
  get faults(): ReadonlyMap<string, string> {
    return this.#faults
  }

  /** Grows whenever {@link faults} changes. */
  get faultChanges(): number {
    return this.#faultChanges
  }

  started(): void {
    this.#options.started()
  }

  skipped(): void {
    this.#options.skipped()
  }

  /** A page of a list: decoded as it arrives, so that the end of a long list does not take long. */
  arrived(entries: readonly Entry[]): void {
    for (const { key, value } of entries) {
      this.#arrived.add(key)
      this.#put(key, value)
    }
  }

  /** Mark and sweep: keys that are not in the list are gone. */
  listed(entries: readonly Entry[]): void {
    const gone = new Set(this.#known.keys())
    for (const { key, value } of entries) {
      gone.delete(key)
      if (!this.#arrived.has(key)) this.#put(key, value)
    }
    this.#arrived.clear()
    this.#drop([...gone])
    this.#options.listed()
  }

  changed(events: readonly WatchEvent[]): void {
    const gone = new Set<string>()
    for (const { kept, entry } of events) {
      if (!kept) gone.add(entry.key)
      else {
        gone.delete(entry.key)
        this.#put(entry.key, entry.value)
      }
    }
    this.#drop([...gone])
    this.#options.changed()
  }

  /** The resource is not written any more. */
  clear(): void {
    this.close()
    for (const key of [...this.#known.keys()]) this.#forget(key)
  }

  close(): void {
    for (const cancel of this.#timers) cancel()
    this.#timers.clear()
    this.#leaving.clear()
  }

  #put(key: string, value: Uint8Array): void {
    this.#leaving.delete(key)
    const before = this.#known.get(key)
    const digest = hash('sha256', value, 'base64')
    if (before?.digest === digest) return
    try {
      const objects = this.#options.decode(this.#suffixOf(key), value)
      if (objects.length === 0) this.#remove(key)
      for (const object of objects) this.#options.assembler.put(object, 'etcd')
      this.#clearFault(key)
      this.#remember(key, { digest, isUsed: objects.length > 0 })
    } catch (error) {
      this.#remember(key, { digest, isUsed: before?.isUsed ?? false })
      this.#faults.set(key, messageOf(error))
      this.#faultChanges++
    }
  }

  #drop(keys: readonly string[]): void {
    const { mayMove, clock, changed } = this.#options
    const known = keys.filter(key => this.#known.has(key))
    if (known.length === 0) return
    if (!mayMove()) {
      for (const key of known) this.#forget(key)
      return
    }
    const departure = Symbol()
    for (const key of known) this.#leaving.set(key, departure)
    const cancel = clock.after(moveMs, () => {
      this.#timers.delete(cancel)
      for (const key of known) if (this.#leaving.get(key) === departure) this.#forget(key)
      changed()
    })
    this.#timers.add(cancel)
  }

  #forget(key: string): void {
    this.#leaving.delete(key)
    this.#remove(key)
    this.#clearFault(key)
    this.#remember(key, undefined)
  }

  /** A good value always bears the namespace and name of its key. */
  #remove(key: string): void {
    if (!this.#known.get(key)?.isUsed) return
    const suffix = this.#suffixOf(key)
    const at = suffix.indexOf('/')
    const [namespace, name] = [suffix.slice(0, Math.max(0, at)), suffix.slice(at + 1)]
    for (const kind of this.#options.kinds) this.#options.assembler.remove({ kind, namespace, name })
  }

  #remember(key: string, after: Known | undefined): void {
    this.#used += Number(after?.isUsed ?? false) - Number(this.#known.get(key)?.isUsed ?? false)
    if (after) this.#known.set(key, after)
    else this.#known.delete(key)
  }

  #clearFault(key: string): void {
    if (this.#faults.delete(key)) this.#faultChanges++
  }

  #suffixOf(key: string): string {
    return key.slice(this.#options.prefix.length)
  }
}

/** Problems that are listed one by one; the rest is counted. */
const maxProblems = 1000

export function problemsOf(readers: readonly Pick<RecordReader, 'faults' | 'prefix'>[]): Problem[] {
  return readers.flatMap(({ faults, prefix }) => {
    const listed = [...faults].slice(0, maxProblems).map(([key, why]) => problem(key, why))
    const rest = faults.size - listed.length
    return rest > 0 ? [...listed, problem(prefix, `${rest} more keys have bad values`)] : listed
  })
}

function problem(key: string, why: string): Problem {
  const message = `${why}; its last good value stays in use`
  return { code: 'SOURCE_OBJECT', where: tame(key), message: `${tame(key.split('/').slice(-2).join('/'))}: ${message}` }
}
