/** Follows one etcd prefix, or one key: lists it, watches from that revision, and lists again after compaction. */
import { MeshError, messageOf } from '../../model/error.ts'
import { type EtcdClient, EtcdError, statusCode } from './client.ts'
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
}

export interface MirrorEvents {
  /** The mirror cannot continue. Not called when the connection itself ends. */
  readonly failed: (error: MeshError) => void
  /** Called before each `listed` of the listener. */
  readonly synced?: (keys: number) => void
}

/** An upper bound on the keys under one prefix, to protect the memory of the reader. */
const maxEntries = 500_000

export class Mirror {
  #client: EtcdClient
  #prefix: string
  #listener: MirrorListener
  #events: MirrorEvents
  #stopWatch: () => void = () => {}
  #isClosed = false

  constructor(client: EtcdClient, prefix: string, listener: MirrorListener, events: MirrorEvents) {
    this.#client = client
    this.#prefix = prefix
    this.#listener = listener
    this.#events = events
    void this.#list()
  }

  close(): void {
    this.#isClosed = true
    this.#stopWatch()
  }

  async #list(): Promise<void> {
    this.#listener.started?.()
    try {
      const { entries, revision } = await this.#everything()
      if (this.#isClosed) return
      this.#events.synced?.(entries.length)
      this.#listener.listed(entries)
      if (!this.#isClosed) this.#watch(revision + 1)
    } catch (error) {
      if (this.#isClosed) return
      if (error instanceof EtcdError && error.status === statusCode.compacted) return this.#list()
      const failure = error instanceof MeshError ? error : undefined
      this.#events.failed(failure ?? new MeshError('SOURCE_READ', messageOf(error), { cause: error }))
    }
  }

  async #everything(): Promise<{ entries: readonly Entry[]; revision: number }> {
    const entries: Entry[] = []
    let at = 0
    for await (const page of this.#client.pages(this.#prefix, this.#rangeEnd)) {
      for (const entry of page.entries) entries.push(entry)
      at = page.revision
      if (this.#isClosed) break
      this.#listener.arrived?.(page.entries)
      if (entries.length > maxEntries) {
        throw new MeshError('SOURCE_READ', `there are more than ${maxEntries} keys under ${this.#prefix}`)
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
      { changed: events => this.#listener.changed(events), compacted: () => void this.#list() },
    )
  }
}
