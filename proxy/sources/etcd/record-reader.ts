/** Reads the etcd keys of one resource: decodes each value, passes the objects to the assembler, and remembers bad values. */
import { hash } from 'node:crypto'
import type { MirrorListener } from '../../clients/etcd/mirror.ts'
import type { Entry } from '../../clients/etcd/rpc.ts'
import type { WatchEvent } from '../../clients/etcd/watches.ts'
import { messageOf, type Problem } from '../../model/error.ts'
import { tame } from '../../model/text/spelling.ts'
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
  /** A complete list has been read. */
  readonly listed: () => void
  /** Some changes have been read. */
  readonly changed: () => void
}

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
    for (const key of gone) this.#drop(key)
    this.#options.listed()
  }

  changed(events: readonly WatchEvent[]): void {
    for (const { kept, entry } of events) {
      if (kept) this.#put(entry.key, entry.value)
      else this.#drop(entry.key)
    }
    this.#options.changed()
  }

  #put(key: string, value: Uint8Array): void {
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

  #drop(key: string): void {
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
