/** A session of a gateway by node:http2, on JavaScript's thread. */
import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { CloseReason } from '../../model/flow.ts'
import type { ServedBytes } from '../../model/tunnel/carrier.ts'
import { Joint, socketEnd, tunnelEnd } from '../wire/joint.ts'
import { serverSettings, sessionWindow } from '../wire/settings.ts'
import type { ServerStream, Session, SessionEvents, SessionLimits } from './door.ts'

export class NodeSession implements Session {
  readonly #socket: TLSSocket
  readonly #session: ServerHttp2Session

  constructor(socket: TLSSocket, { streams, memory }: SessionLimits, events: SessionEvents) {
    this.#socket = socket
    const session = performServerHandshake(socket, {
      settings: { ...serverSettings, maxConcurrentStreams: streams },
      maxSessionMemory: memory,
    })
    this.#session = session
    session.setLocalWindowSize(sessionWindow)
    session.on('stream', (stream, headers) => events.stream(new NodeStream(stream, headers)))
    session.on('error', error => events.failed(error.message))
    session.on('close', () => events.ended())
  }

  get isOver(): boolean {
    return this.#session.destroyed
  }

  received(): number {
    return this.#socket.bytesRead
  }

  ping(done: () => void): void {
    if (!this.#session.destroyed) this.#session.ping(done)
  }

  setWindow(bytes: number): void {
    if (!this.#session.destroyed) this.#session.settings({ initialWindowSize: bytes })
  }

  leave(): void {
    if (!this.#session.closed) this.#session.close()
  }

  destroy(code: number): void {
    this.#session.destroy(undefined, code)
  }

  /** The session waits until a write in progress is done, which a peer that does not read never lets happen. */
  abandon(): void {
    this.#socket.destroy()
  }
}

class NodeStream implements ServerStream {
  readonly headers: IncomingHttpHeaders
  readonly #stream: ServerHttp2Stream

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders) {
    this.headers = headers
    this.#stream = stream
    stream.on('error', () => {})
  }

  get isOver(): boolean {
    return this.#stream.destroyed || this.#stream.closed
  }

  get isBroken(): boolean {
    return (this.#stream.rstCode ?? 0) !== constants.NGHTTP2_NO_ERROR
  }

  onEnd(listener: () => void): void {
    this.#stream.on('close', listener)
  }

  respond(headers: Readonly<Record<string, string>>): void {
    this.#stream.respond(headers)
  }

  refuse(headers: Readonly<Record<string, string>>): void {
    const stream = this.#stream
    if (this.isOver || stream.headersSent) return
    stream.respond(headers, { endStream: true })
    stream.resume()
    // The peer need not end its side: RFC 9113, 8.1.
    stream.close(constants.NGHTTP2_NO_ERROR)
  }

  join(backend: Socket, done: (reason: CloseReason | undefined) => void): ServedBytes {
    this.#stream.respond({ ':status': '200' })
    return new NodeBytes(this.#stream, backend, done)
  }

  bytes(): Duplex {
    return this.#stream
  }

  reset(code?: number): void {
    if (code !== undefined) this.#stream.close(code)
    else if (!this.#stream.destroyed) this.#stream.destroy(new Error('reset'))
    this.#stream.resume()
  }
}

class NodeBytes implements ServedBytes {
  readonly #joint: Joint
  readonly #done: (reason: CloseReason | undefined) => void

  constructor(stream: ServerHttp2Stream, backend: Socket, done: (reason: CloseReason | undefined) => void) {
    this.#done = done
    this.#joint = new Joint(tunnelEnd(stream), socketEnd(backend), (broken, error) => {
      const isLost = error && 'code' in error && error.code === 'ETIMEDOUT'
      const ofBackend = isLost ? 'backend-lost' : 'backend-reset'
      done(broken === 'near' ? 'client-reset' : broken === 'far' ? ofBackend : 'done')
    })
    backend.resume()
  }

  get sent(): number {
    return this.#joint.sent
  }

  get received(): number {
    return this.#joint.received
  }

  get progress(): number {
    return this.#joint.progress
  }

  get halfClosed(): boolean {
    return this.#joint.halfClosed
  }

  cut(): void {
    if (this.#joint.cut()) this.#done(undefined)
  }
}
