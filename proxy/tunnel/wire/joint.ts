/**
 * Passes bytes between a socket and a stream of a tunnel. The end of one side is passed on once what came before it is written; a
 * reset of one becomes a reset of the other, so that no peer takes a broken stream for a complete one. Memory is bounded by the
 * windows and high-water marks: a side that is not read stops the other one only.
 */
import { constants, type Http2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { free, worthFreeing } from '../../model/sockets/chunks.ts'
import { resetSocket } from '../../model/sockets/reset.ts'

/** One side of a joint. */
export interface End {
  readonly stream: Duplex
  /** Ends it so that its peer sees a reset. */
  reset(): void
  /** Whether its 'end' is that of a broken stream. */
  readonly broken: boolean
}

export type Side = 'near' | 'far'

/** A side that has passed on so much waits for the next turn of the event loop: libuv reads up to 2 MiB before it looks at others. */
const share = 128 << 10

export class Joint {
  /** Bytes from the near side. */
  sent = 0
  /** Bytes from the far side. */
  received = 0
  /** Grows whenever anything moves. */
  progress = 0
  readonly #near: End
  readonly #far: End
  readonly #done: (broken: Side | undefined, error: Error | undefined) => void
  #ended = 0
  #closed = 0
  #over = false

  /** `done` is told which side has broken off, if one has; exactly once, and never before the constructor returns. */
  constructor(near: End, far: End, done: (broken: Side | undefined, error: Error | undefined) => void) {
    this.#near = near
    this.#far = far
    this.#done = done
    this.#pass('near', near, far, bytes => {
      this.sent += bytes
    })
    this.#pass('far', far, near, bytes => {
      this.received += bytes
    })
  }

  /** One side has ended and all its bytes are passed on: only the other can still send. */
  get halfClosed(): boolean {
    const queued = this.#near.stream.writableLength + this.#far.stream.writableLength
    return this.#ended > 0 && queued === 0
  }

  /** Resets both sides, without a call of `done`. False when it is over already. */
  cut(): boolean {
    if (this.#over) return false
    this.#over = true
    this.#near.reset()
    this.#far.reset()
    return true
  }

  /** A side has failed, as its owner has noticed. */
  failed(side: Side, error?: Error): void {
    if (this.cut()) this.#done(side, error)
  }

  #pass(side: Side, from: End, to: End, count: (bytes: number) => void): void {
    let isFull = false
    let moved = 0
    const nextTurn = () => {
      moved = 0
      if (!this.#over && !isFull) from.stream.resume()
    }
    from.stream.on('data', (chunk: Buffer) => {
      if (this.#over) return
      count(chunk.length)
      this.progress++
      moved += chunk.length
      isFull = chunk.length < worthFreeing ? !to.stream.write(chunk) : !to.stream.write(chunk, () => free(chunk))
      if (isFull || moved >= share) from.stream.pause()
      if (moved >= share && moved - chunk.length < share) setImmediate(nextTurn)
    })
    to.stream.on('drain', () => {
      this.progress++
      isFull = false
      if (!this.#over && moved < share) from.stream.resume()
    })
    from.stream.on('end', () => {
      if (this.#over) return
      if (from.broken) return this.failed(side)
      this.#ended++
      to.stream.end()
    })
    from.stream.on('error', error => this.failed(side, error))
    from.stream.on('close', () => this.#left(side, from))
    // Ended already, with nothing left to read: no event will come.
    if (from.stream.readableEnded) {
      this.#ended++
      to.stream.end()
    }
  }

  #left(side: Side, { stream }: End): void {
    if (this.#over) return
    if (!stream.readableEnded || !stream.writableFinished) return this.failed(side)
    this.#closed++
    if (this.#closed < 2) return
    this.#over = true
    this.#done(undefined, undefined)
  }
}

export function socketEnd(socket: Socket): End {
  return {
    stream: socket,
    broken: false,
    reset: () => resetSocket(socket),
  }
}

export function tunnelEnd(stream: Http2Stream): End {
  return {
    stream,
    // A stream that is reset or whose session is gone may report an 'end' too.
    get broken() {
      return (stream.rstCode ?? 0) !== constants.NGHTTP2_NO_ERROR || stream.destroyed
    },
    // RST_STREAM with INTERNAL_ERROR. `close(code)` would end the writable side first, which the other end takes for a FIN.
    reset() {
      if (!stream.destroyed) stream.destroy(new Error('reset'))
    },
  }
}
