/** Reads the etcd keys of one resource: decodes each value, passes the objects to the assembler, and remembers bad values. */
import { hash } from 'node:crypto'
import type { MirrorListener } from '../../clients/etcd/mirror.ts'
import type { Entry } from '../../clients/etcd/rpc.ts'
import type { WatchEvent } from '../../clients/etcd/watches.ts'
import { messageOf, type Problem } from '../../model/error.ts'
import { tame } from '../../model/text/spelling.ts'
import type { Clock } from '../../model/time/clock.ts'
import { Turns } from '../../model/time/turn.ts'
import type { ClusterObject, DeclaredEndpoint, Kind } from '../objects.ts'
import type { ServiceAssembler } from '../service-assembler.ts'

export interface RecordReaderOptions {
  /** Ends in a slash; the rest of a key is `NAMESPACE/NAME`, or the name of a node. */
  readonly prefix: string
  /** The objects that one record may become. */
  readonly kinds: readonly Kind[]
  /**
   * Pauses by `yield` while it decodes a large value, and throws for a bad one. An empty list means the same as an absent key. `before`: the
   * endpoints of its last good value, if that was large too.
   */
  readonly decode: (suffix: string, value: Uint8Array, before: readonly DeclaredEndpoint[] | undefined) => Decoding
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

export type Decoding = Generator<undefined, readonly ClusterObject[]>

/**
 * How long a deleted key stays in use where its service may move to another resource: etcd does not order the events of two
 * ranges, and a writer may delete first.
 */
export const moveMs = 2000

/** Outlives connections. A key whose value becomes bad keeps the objects of its last good value. */
export class RecordReader implements MirrorListener {
  readonly #options: RecordReaderOptions
  /** SHA-256 of each value, so that rewriting the same value is not a change. */
  readonly #known = new Map<string, string>()
  /** Those of which the assembler has no objects. */
  readonly #unused = new Set<string>()
  readonly #faults = new Map<string, string>()
  #faultChanges = 0
  /** Keys of the list that is being read. */
  readonly #arrived = new Set<string>()
  /** Deleted keys that are still in use, with what ends that. */
  readonly #leaving = new Map<string, symbol>()
  readonly #timers = new Set<() => void>()
  /** The endpoints of large values, so that the next one of the key has the same objects for those that stay. */
  readonly #large = new Map<string, readonly DeclaredEndpoint[]>()
  /** Raised when what has been given so far must not be decoded any more: a new list follows, or nothing. */
  #round = 0
  #rest: Promise<void> | undefined

  constructor(options: RecordReaderOptions) {
    this.#options = options
  }

  /** Records in use. */
  get size(): number {
    return this.#known.size - this.#unused.size
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
    this.#round++
    this.#options.started()
  }

  /** Resolves when what the last call has given is decoded: a large value takes turns. Undefined if it is already. */
  get rest(): Promise<void> | undefined {
    return this.#rest
  }

  skipped(): void {
    this.#options.skipped()
  }

  /** A page of a list: decoded as it arrives, so that the end of a long list does not take long. */
  arrived(entries: readonly Entry[]): void {
    for (const { key } of entries) this.#arrived.add(key)
    this.#inOrder(entries, ({ key, value }) => this.#put(key, value))
  }

  /** Mark and sweep: keys that are not in the list are gone. */
  listed(entries: readonly Entry[]): void {
    const gone = new Set(this.#known.keys())
    for (const { key } of entries) gone.delete(key)
    const others = entries.filter(({ key }) => !this.#arrived.has(key))
    this.#arrived.clear()
    this.#inOrder(
      others,
      ({ key, value }) => this.#put(key, value),
      () => {
        this.#drop([...gone])
        this.#options.listed()
      },
    )
  }

  changed(events: readonly WatchEvent[]): void {
    const gone = new Set<string>()
    this.#inOrder(
      events,
      ({ kept, entry }) => {
        if (!kept) return void gone.add(entry.key)
        gone.delete(entry.key)
        return this.#put(entry.key, entry.value)
      },
      () => {
        this.#drop([...gone])
        this.#options.changed()
      },
    )
  }

  /** Calls `step` for one after the other, and `done` in the end: at once, unless a step takes turns. */
  #inOrder<T>(all: readonly T[], step: (one: T) => Promise<void> | undefined, done: () => void = () => {}): void {
    const round = this.#round
    const from = (first: number): Promise<void> | undefined => {
      for (let i = first; i < all.length; i++) {
        const rest = step(all[i] as T)
        if (rest) return rest.then(() => (round === this.#round ? from(i + 1) : undefined))
      }
      done()
      return undefined
    }
    const rest = from(0)
    this.#rest = rest
    void rest?.then(() => {
      if (this.#rest === rest) this.#rest = undefined
    })
  }

  /** The resource is not written any more. */
  clear(): void {
    this.close()
    if (this.#known.size > 0) for (const key of [...this.#known.keys()]) this.#forget(key)
  }

  close(): void {
    this.#round++
    for (const cancel of this.#timers) cancel()
    this.#timers.clear()
    this.#leaving.clear()
  }

  #put(key: string, value: Uint8Array): Promise<void> | undefined {
    this.#leaving.delete(key)
    const digest = hash('sha256', value, 'base64')
    if (this.#known.get(key) === digest) return undefined
    const decoding = this.#options.decode(this.#suffixOf(key), value, this.#large.get(key))
    try {
      const step = decoding.next()
      if (!step.done) return this.#putInTurns(key, digest, decoding)
      this.#use(key, digest, step.value)
    } catch (error) {
      this.#refuse(key, digest, error)
    }
    return undefined
  }

  async #putInTurns(key: string, digest: string, decoding: Decoding): Promise<void> {
    const round = this.#round
    const turns = new Turns()
    try {
      for (;;) {
        await turns.next()
        if (round !== this.#round) return
        const step = decoding.next()
        if (!step.done) continue
        this.#use(key, digest, step.value)
        for (const object of step.value) if ('endpoints' in object) this.#large.set(key, object.endpoints)
        return
      }
    } catch (error) {
      this.#refuse(key, digest, error)
    }
  }

  #use(key: string, digest: string, objects: readonly ClusterObject[]): void {
    if (objects.length === 0) this.#remove(key)
    for (const object of objects) this.#options.assembler.put(object, 'etcd')
    this.#clearFault(key)
    this.#large.delete(key)
    this.#remember(key, digest, objects.length > 0)
  }

  #refuse(key: string, digest: string, error: unknown): void {
    this.#remember(key, digest, this.#isUsed(key))
    this.#faults.set(key, messageOf(error))
    this.#faultChanges++
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
    this.#large.delete(key)
    this.#remove(key)
    this.#clearFault(key)
    this.#known.delete(key)
    this.#unused.delete(key)
  }

  /** A good value always bears the namespace and name of its key. */
  #remove(key: string): void {
    if (!this.#isUsed(key)) return
    const suffix = this.#suffixOf(key)
    const at = suffix.indexOf('/')
    const [namespace, name] = [suffix.slice(0, Math.max(0, at)), suffix.slice(at + 1)]
    for (const kind of this.#options.kinds) this.#options.assembler.remove({ kind, namespace, name })
  }

  #isUsed(key: string): boolean {
    return this.#known.has(key) && !this.#unused.has(key)
  }

  #remember(key: string, digest: string, isUsed: boolean): void {
    this.#known.set(key, digest)
    if (isUsed) this.#unused.delete(key)
    else this.#unused.add(key)
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
