/** All watches of one connection on a single stream: in etcd a watch is cheap and a stream is expensive. */
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js'
import { MeshError } from '../../model/error.ts'
import { tame } from '../../model/text/spelling.ts'
import { Turns } from '../../model/time/turn.ts'
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
  /** The server does not give it: the watch has ended, and those of others continue. */
  refused(error: MeshError): void
}

export interface WatchesParts {
  /** Called with the header of every answer. */
  readonly check: (header: Header | undefined) => void
  /** The stream has failed; the connection is then closed. */
  readonly fail: (why: string, status: number) => void
  /** The URL of the server, for messages. */
  readonly where: string
}

type Answer = ReturnType<typeof watch.answer.decode>
type Stream = ClientDuplexStream<Parameters<typeof watch.request.encode>[0], Answer>

export class Watches {
  #open: () => Stream
  #parts: WatchesParts
  #stream: Stream | undefined
  #listeners = new Map<number, WatchListener>()
  /** Watches whose creation has not been answered, in the order in which they were asked for. */
  #asked = new Set<number>()
  #lastId = 0

  constructor(open: () => Stream, parts: WatchesParts) {
    this.#open = open
    this.#parts = parts
  }

  add({ key, rangeEnd = '', revision }: WatchRange, listener: WatchListener): () => void {
    const watchId = ++this.#lastId
    this.#listeners.set(watchId, listener)
    this.#asked.add(watchId)
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
    const fail = (why: string, status: number): void => {
      if (stream === this.#stream) this.#parts.fail(tame(why), status)
    }
    // Else a burst of changes would be read in one go. What is not read yet stays with the server, once a window is full.
    const turns = new Turns()
    stream.on('data', (answer: Answer) => {
      this.#parts.check(answer.header)
      if (stream === this.#stream) this.#hear(answer)
      if (!turns.isOver) return
      stream.pause()
      void turns.begin().then(() => stream.resume())
    })
    stream.on('error', (error: ServiceError) => fail(`the watch ended: ${error.details}`, error.code))
    stream.on('end', () => fail('the server ended the watch', 0))
    return stream
  }

  #hear(answer: Answer): void {
    const { canceled, compactRevision, cancelReason, events } = answer
    const watchId = answer.created ? this.#created(answer.watchId) : answer.watchId
    const listener = this.#listeners.get(watchId)
    if (canceled) {
      this.#listeners.delete(watchId)
      if (compactRevision > 0) listener?.compacted()
      else listener?.refused(this.#refusal(cancelReason))
    } else if (listener && events.length > 0) {
      listener.changed(events.flatMap(({ type, kv }) => (kv ? [{ kept: type !== 1, entry: kv }] : [])))
    }
  }

  /** The watch that an answer to a creation is about: etcd gives a refused one the id -1, and answers in order. */
  #created(given: number): number {
    const [oldest] = this.#asked
    const watchId = this.#asked.has(given) ? given : (oldest ?? given)
    this.#asked.delete(watchId)
    return watchId
  }

  #refusal(why: string): MeshError {
    return new MeshError('SOURCE_READ', `${this.#parts.where}: a watch was refused: ${tame(why) || 'no reason given'}`)
  }
}
