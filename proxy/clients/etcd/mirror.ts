/** Follows one etcd prefix, or one key: lists it, watches from that revision, and lists again after compaction. */
import { MeshError, messageOf } from '../../model/error.ts'
import { inPieces } from '../../model/lists/in-pieces.ts'
import { Turns } from '../../model/time/turn.ts'
import { type Budget, overLimits } from '../budget.ts'
import { EtcdError, type EtcdReader, statusCode } from './client.ts'
import { type Entry, rangeEndOf } from './rpc.ts'
import type { WatchEvent } from './watches.ts'

/** Receives the entries. Before the first `listed`, an absent key means nothing. */
export interface MirrorListener {
  /** A list has been started: `listed` or `skipped` follows, unless the connection ends. */
  started?(): void
  /** The range cannot be read, and the others are. */
  skipped?(): void
  /** A page of a list that is not complete yet, so that the work is spread over the pages. */
  arrived?(entries: readonly Entry[]): void
  /** The complete list: known keys that are not in it are gone. Called again when changes were missed. */
  listed(entries: readonly Entry[]): void
  changed(events: readonly WatchEvent[]): void
  /** What the last call has left to do, in turns: nothing is given before it is done. */
  readonly rest?: Promise<void> | undefined
}

export interface MirrorEvents {
  /** The mirror cannot continue. Not called when the connection itself ends. */
  readonly failed: (error: MeshError) => void
  /** Called before each `listed` of the listener. */
  readonly synced?: (keys: number) => void
}

/** How much is decoded between two looks at the clock: what comes of it is several times as large. */
const stepBytes = 16 << 10
const stepEntries = 25
/** Changes that wait to be decoded. A cluster that sends more is over its limits. */
const maxWaitingBytes = 64 << 20
/** A store that compacts faster than it can be listed is never listed. */
const maxCompactions = 10

const noValue = Buffer.alloc(0)

/** Lists and changes are decoded in turns, so that a large store does not keep the main thread busy. */
export class Mirror {
  #client: EtcdReader
  #prefix: string
  #listener: MirrorListener
  #events: MirrorEvents
  #budget: Budget
  #turns = new Turns()
  /** As the budget counts them. */
  #sizes = new Map<string, number>()
  #waiting: WatchEvent[] = []
  #waitingBytes = 0
  #isDraining = false
  /** Raised when changes that have not been decoded yet are older than the list that follows. */
  #round = 0
  #stopWatch: () => void = () => {}
  #closing = new AbortController()
  #compactions = 0

  constructor(client: EtcdReader, prefix: string, listener: MirrorListener, events: MirrorEvents, budget: Budget) {
    this.#client = client
    this.#prefix = prefix
    this.#listener = listener
    this.#events = events
    this.#budget = budget
    void this.#list()
  }

  close(): void {
    this.#closing.abort()
    this.#stopWatch()
    this.#forgetChanges()
    for (const size of this.#sizes.values()) this.#budget.release(size)
    this.#sizes.clear()
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted
  }

  async #list(): Promise<void> {
    this.#listener.started?.()
    try {
      const { entries, revision } = await this.#everything()
      if (this.#isClosed) return
      this.#compactions = 0
      this.#events.synced?.(entries.length)
      this.#listener.listed(entries)
      await this.#listener.rest
      if (!this.#isClosed) this.#watch(revision + 1)
    } catch (error) {
      const isCompacted = error instanceof EtcdError && error.status === statusCode.compacted
      if (isCompacted && ++this.#compactions <= maxCompactions && !this.#isClosed) return this.#list()
      this.#fail(error)
    }
  }

  async #everything(): Promise<{ entries: readonly Entry[]; revision: number }> {
    const entries: Entry[] = []
    const before = this.#sizes
    this.#sizes = new Map()
    for (const size of before.values()) this.#budget.release(size)
    let at = 0
    for await (const page of this.#client.pages(this.#prefix, this.#rangeEnd)) {
      at = page.revision
      await this.#budget.pace(bytesOf(page.entries), this.#closing.signal)
      for (const some of steps(page.entries, sizeOf)) {
        await this.#turns.next()
        if (this.#isClosed) return { entries, revision: at }
        for (const entry of some) this.#hold(entry)
        this.#listener.arrived?.(some)
        await this.#listener.rest
        // A value that was decoded is not needed again.
        for (const entry of some) entries.push(this.#listener.arrived ? { ...entry, value: noValue } : entry)
      }
    }
    return { entries, revision: at }
  }

  /** A prefix ends in a slash; anything else is one key. */
  get #rangeEnd(): string {
    return this.#prefix.endsWith('/') ? rangeEndOf(this.#prefix) : ''
  }

  #watch(revision: number): void {
    this.#stopWatch = this.#client.watch(
      { key: this.#prefix, rangeEnd: this.#rangeEnd, revision },
      {
        changed: events => this.#receive(events),
        compacted: () => {
          this.#round++
          this.#forgetChanges()
          void this.#list()
        },
        refused: error => this.#fail(error),
      },
    )
  }

  #receive(events: readonly WatchEvent[]): void {
    for (const event of events) this.#waiting.push(event)
    this.#waitingBytes += events.reduce((sum, { entry }) => sum + sizeOf(entry), 0)
    if (this.#waitingBytes > maxWaitingBytes) {
      return this.#fail(overLimits('rate', `changes of ${maxWaitingBytes} bytes are waiting`))
    }
    if (!this.#isDraining) void this.#drain()
  }

  async #drain(): Promise<void> {
    this.#isDraining = true
    try {
      while (this.#waiting.length > 0) {
        const events = this.#waiting
        const bytes = this.#waitingBytes
        const round = this.#round
        this.#forgetChanges()
        await this.#budget.pace(bytes, this.#closing.signal)
        await this.#turns.begin()
        for (const some of steps(events, ({ entry }) => sizeOf(entry))) {
          await this.#turns.next()
          if (this.#isClosed) return
          if (round !== this.#round) break
          for (const event of some) this.#count(event)
          this.#listener.changed(some)
          await this.#listener.rest
        }
      }
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#isDraining = false
    }
  }

  #forgetChanges(): void {
    this.#waiting = []
    this.#waitingBytes = 0
  }

  #count({ kept, entry }: WatchEvent): void {
    if (kept) return this.#hold(entry)
    const size = this.#sizes.get(entry.key)
    if (this.#sizes.delete(entry.key)) this.#budget.release(size ?? 0)
  }

  #hold(entry: Entry): void {
    this.#budget.hold(sizeOf(entry), this.#sizes.get(entry.key))
    this.#sizes.set(entry.key, sizeOf(entry))
  }

  #fail(error: unknown): void {
    if (this.#isClosed) return
    this.#events.failed(
      error instanceof MeshError ? error : new MeshError('SOURCE_READ', messageOf(error), { cause: error }),
    )
  }
}

function sizeOf({ key, value }: Entry): number {
  return key.length + value.length
}

function bytesOf(entries: readonly Entry[]): number {
  return entries.reduce((sum, entry) => sum + sizeOf(entry), 0)
}

/** Pieces that take little time each. */
function steps<T>(all: readonly T[], size: (one: T) => number): Generator<readonly T[]> {
  return inPieces(all, stepEntries, size, stepBytes)
}
