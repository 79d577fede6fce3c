/** The open streams of server-sent events: how many there may be, how they stay open, and how they end. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '../../model/time/clock.ts'
import type { EventSink, EventStream } from '../answer.ts'

const maxStreams = 16
/** A comment, so that no proxy and no timeout takes a quiet stream for a dead one. */
const beatMs = 5000
/** Unsent bytes beyond which a client does not keep up. */
const maxUnsent = 1 << 20

export class EventStreams {
  readonly #clock: Clock
  readonly #open = new Set<ServerResponse>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get full(): boolean {
    return this.#open.size >= maxStreams
  }

  /** The head has been written. */
  run({ start }: EventStream, { method }: IncomingMessage, response: ServerResponse): void {
    if (method === 'HEAD') return void response.end()
    this.#open.add(response)
    const sink: EventSink = {
      send: text => void response.write(text),
      get isFull() {
        return response.writableLength > maxUnsent
      },
    }
    // At once, so that the client knows that it is connected.
    sink.send(': open\n\n')
    const stopBeats = this.#clock.every(beatMs, () => {
      if (!sink.isFull) sink.send(':\n\n')
    })
    const stop = start(sink)
    response.once('close', () => {
      this.#open.delete(response)
      stopBeats()
      stop()
    })
  }

  close(): void {
    for (const response of this.#open) response.end()
  }
}
