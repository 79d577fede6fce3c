/** All watches of one connection, on one stream: etcd keeps a cheap entry for each watch, and a costly one for each stream. */
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js'
import { MeshError } from '../../model/error.ts'
import { tame } from '../../model/text/spelling.ts'
import type { Entry, Header, watch } from './rpc.ts'

/** The keys from `key` up to and without `rangeEnd`, or one key alone, from a revision on. */
export interface WatchRange {
  readonly key: string
  readonly rangeEnd?: string
  readonly revision: number
}

/** `kept` is false for a deletion; then the entry has only its key and revision. */
export interface WatchEvent {
  readonly kept: boolean
  readonly entry: Entry
}

export interface WatchListener {
  changed(events: readonly WatchEvent[]): void
  /** What came in between has been compacted away: the watch has ended, and only a new listing helps. */
  compacted(): void
}

export interface WatchesParts {
  /** Every answer's header passes here. */
  readonly check: (header: Header | undefined) => void
  /** The stream, or a watch on it, has ended for another reason than compaction: so has the connection. */
  readonly fail: (error: MeshError) => void
  /** For messages. */
  readonly where: string
}

type Answer = ReturnType<typeof watch.answer.decode>
type Stream = ClientDuplexStream<Parameters<typeof watch.request.encode>[0], Answer>

export class Watches {
  #open: () => Stream
  #parts: WatchesParts
  #stream: Stream | undefined
  #listeners = new Map<number, WatchListener>()
  #lastId = 0

  constructor(open: () => Stream, parts: WatchesParts) {
    this.#open = open
    this.#parts = parts
  }

  add({ key, rangeEnd = '', revision }: WatchRange, listener: WatchListener): () => void {
    const watchId = ++this.#lastId
    this.#listeners.set(watchId, listener)
    this.#stream ??= this.#follow(this.#open())
    // A burst of changes comes in fragments, instead of one message that may be too large to take.
    this.#stream.write({ create: { key, rangeEnd, startRevision: revision, watchId, fragment: true } })
    return () => {
      if (this.#listeners.delete(watchId)) this.#stream?.write({ cancel: { watchId } })
    }
  }

  close(): void {
    this.#listeners.clear()
    this.#stream?.cancel()
    this.#stream = undefined
  }

  #follow(stream: Stream): Stream {
    const fail = (why: string): void => {
      if (stream === this.#stream) this.#parts.fail(new MeshError('SOURCE_READ', `${this.#parts.where}: ${tame(why)}`))
    }
    stream.on('data', (answer: Answer) => {
      this.#parts.check(answer.header)
      if (stream === this.#stream) this.#hear(answer, fail)
    })
    stream.on('error', (error: ServiceError) => fail(`the watch ended: ${error.details}`))
    stream.on('end', () => fail('the server ended the watch'))
    return stream
  }

  #hear({ watchId, canceled, compactRevision, cancelReason, events }: Answer, fail: (why: string) => void): void {
    const listener = this.#listeners.get(watchId)
    if (canceled && compactRevision > 0) {
      this.#listeners.delete(watchId)
      listener?.compacted()
    } else if (canceled && cancelReason !== '') {
      fail(`a watch was refused: ${cancelReason}`)
    } else if (listener && events.length > 0) {
      listener.changed(events.flatMap(({ type, kv }) => (kv ? [{ kept: type !== 1, entry: kv }] : [])))
    }
  }
}
