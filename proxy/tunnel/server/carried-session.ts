/** A session of a gateway in its pump. */
import { constants } from 'node:http2'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { CloseReason } from '../../model/flow.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { ServedBytes, ServedRequest, ServedSession } from '../../model/tunnel/carrier.ts'
import type { ServerStream, Session, SessionEvents } from './door.ts'

export class CarriedSession implements Session {
  readonly #session: ServedSession
  readonly #events: SessionEvents
  readonly #clock: Clock
  #ponged: (() => void) | undefined
  #isLeaving = false
  #isOver = false

  constructor(session: ServedSession, clock: Clock, events: SessionEvents) {
    this.#session = session
    this.#clock = clock
    this.#events = events
  }

  get isOver(): boolean {
    return this.#isOver
  }

  asked(request: ServedRequest): void {
    if (!this.#isOver) this.#events.stream(new CarriedStream(request, this.#clock))
  }

  pong(): void {
    if (!this.#isOver) this.#ponged?.()
  }

  ended(why: string): void {
    if (this.#isOver) return
    this.#isOver = true
    if (!/^it closed /.test(why)) this.#events.failed(why)
    this.#events.ended()
  }

  received(): number {
    return this.#session.received()
  }

  ping(done: () => void): void {
    this.#ponged = done
    if (!this.#isOver) this.#session.ping()
  }

  setWindow(bytes: number): void {
    if (!this.#isOver) this.#session.setWindow(bytes)
  }

  leave(): void {
    if (this.#isOver || this.#isLeaving) return
    this.#isLeaving = true
    this.#session.leave(constants.NGHTTP2_NO_ERROR, '')
  }

  destroy(code: number): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#session.close(code)
    // As node:http2 does it: the caller is not called back before this returns.
    queueMicrotask(() => this.#events.ended())
  }

  abandon(): void {
    this.#session.close(constants.NGHTTP2_NO_ERROR)
  }
}

class CarriedStream implements ServerStream {
  readonly headers: Readonly<Record<string, string>>
  readonly #request: ServedRequest
  readonly #clock: Clock

  constructor(request: ServedRequest, clock: Clock) {
    this.#request = request
    this.#clock = clock
    this.headers = request.headers
  }

  get isOver(): boolean {
    return this.#request.isOver
  }

  get isBroken(): boolean {
    return this.#request.isBroken
  }

  onEnd(listener: () => void): void {
    this.#request.onEnd(listener)
  }

  respond(headers: Readonly<Record<string, string>>): void {
    this.#request.respond(this.#dated(headers))
  }

  refuse(headers: Readonly<Record<string, string>>): void {
    this.#request.refuse(this.#dated(headers))
  }

  join(backend: Socket, done: (reason: CloseReason | undefined) => void): ServedBytes {
    return this.#request.join(backend, this.#dated({ ':status': '200' }), done)
  }

  bytes(): Duplex {
    return this.#request.bytes()
  }

  /** As every answer of node:http2 is: by it a peer finds out that a clock is wrong. */
  #dated(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
    return { ...headers, date: new Date(this.#clock.wall()).toUTCString() }
  }

  reset(code: number = constants.NGHTTP2_INTERNAL_ERROR): void {
    this.#request.reset(code)
  }
}
