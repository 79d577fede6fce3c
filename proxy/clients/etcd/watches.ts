/** All watches of one connection on a single stream: in etcd a watch is cheap and a stream is expensive. */
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js'
import { MeshError } from '../../model/error.ts'
import { tame } from '../../model/text/spelling.ts'
import type { Entry, Header, watch } from './rpc.ts'

/** The keys from `key` up to `rangeEnd` (exclusive), or one key, from a revision on. */
export interface WatchRange {
  readonly key: string
  readonly rangeEnd?: string
  readonly revision: number
}

/** `kept` is false for a deletion, whose entry has only a key and a revision. */
export interface WatchEvent {
  readonly kept: boolean
  readonly entry: Entry
}

export interface WatchListener {
  changed(events: readonly WatchEvent[]): void
  /** The revision has been compacted: the watch has ended, and the keys must be listed again. */
  compacted(): void
}

export interface WatchesParts {
  /** Called with the header of every answer. */
  readonly check: (header: Header | undefined) => void
  /** The stream or a watch has failed, other than by compaction; the connection is then closed. */
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
    // Fragments: a burst of changes in one message could exceed the maximum message size.
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
