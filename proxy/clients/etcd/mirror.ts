import { MeshError, messageOf } from '../../model/error.ts'
import { type EtcdClient, EtcdError, statusCode } from './client.ts'
import { type Entry, rangeEndOf } from './rpc.ts'
import type { WatchEvent } from './watches.ts'

/** What a mirror tells. Until the first `listed` an absent key means nothing. */
export interface MirrorListener {
  /** A page of a listing that goes on: work that need not wait for its end, so that no single moment has to do it all. */
  arrived?(entries: readonly Entry[]): void
  /** Everything there is: what was known and is not in it is gone. Comes again when changes were missed. */
  listed(entries: readonly Entry[]): void
  changed(events: readonly WatchEvent[]): void
}

/** More keys than this under one prefix are no cluster's services; the memory of the reader is worth more. */
const maxEntries = 500_000

/** Keeps up with everything under a prefix, or with one key: lists, then watches from there, and lists again when it must. */
export class Mirror {
  #client: EtcdClient
  #prefix: string
  #listener: MirrorListener
  #fail: (error: MeshError) => void
  #stopWatch: () => void = () => {}
  #isClosed = false

  /** `fail` is told when it cannot go on; the connection's own end is not told here. */
  constructor(client: EtcdClient, prefix: string, listener: MirrorListener, fail: (error: MeshError) => void) {
    this.#client = client
    this.#prefix = prefix
    this.#listener = listener
    this.#fail = fail
    void this.#list()
  }

  close(): void {
    this.#isClosed = true
    this.#stopWatch()
  }

  async #list(): Promise<void> {
    try {
      const { entries, revision } = await this.#everything()
      if (this.#isClosed) return
      this.#listener.listed(entries)
      if (!this.#isClosed) this.#watch(revision + 1)
    } catch (error) {
      if (this.#isClosed) return
      if (error instanceof EtcdError && error.status === statusCode.compacted) return this.#list()
      this.#fail(error instanceof MeshError ? error : new MeshError('SOURCE_READ', messageOf(error), { cause: error }))
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
