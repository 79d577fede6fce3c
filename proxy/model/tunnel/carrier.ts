/**
 * Who carries tunnels in the place of node:tls and node:http2: the pump of the engine native for a client, and one of its own for a
 * gateway. All decisions stay with its user.
 */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { CloseReason } from '../flow.ts'

/** What one end shows and whom it trusts, in the form of the carrier. */
export type CarrierContext = object

export interface Carrier {
  /** Texts in PEM: the certificate and its intermediates, its key, the roots. Throws what is wrong with them. */
  context(certificates: string, key: string, roots: string): CarrierContext
  /** Begins TLS on a connected socket. The carrier has a descriptor of its own for it: the caller closes this one. Windows in bytes. */
  open(descriptor: number, context: CarrierContext, windows: Windows, events: CarriedEvents): CarriedTunnel
}

export interface Windows {
  /** Of each stream. */
  readonly stream: number
  readonly session: number
}

/** None is called before `open` returns, and none after `ended`. */
export interface CarriedEvents {
  /** TLS stands. The certificates of the other end in DER, its own first; 0 or OpenSSL's code of their verification. */
  secured(chain: readonly Buffer[], verified: number): void
  /** The other end's settings have come: so many streams it takes. */
  ready(streams: number): void
  pong(roundTripMs: number): void
  /** A GOAWAY. */
  leaving(code: number, text: string): void
  /** The last event, after those of its streams. */
  ended(why: string): void
}

export interface CarriedTunnel {
  /** The certificate is accepted: the session begins. */
  start(): void
  /** Without another event. */
  close(): void
  ping(): void
  setWindow(bytes: number): void
  /** Bytes that have come and that were sent so far. */
  count(): { readonly received: number; readonly sent: number }
  request(headers: Readonly<Record<string, string>>, events: CarriedStreamEvents): CarriedStream
}

/** None is called before `request` returns. */
export interface CarriedStreamEvents {
  answered(status: number, reason: string): void
  /** It has ended, with the code of RST_STREAM, before a connection has taken it. */
  ended(code: number): void
}

export interface CarriedStream {
  /** By which the pump's command `join` takes it. */
  readonly token: number
  /** The index of the pump that has it. */
  readonly pump: number
  /** Of one that is not taken. No event follows. */
  reset(code: number): void
  /** A connection takes it: no event follows. */
  taken(): void
  /** This process takes it: its bytes, once it is answered with 200. A reset is an end here. */
  bytes(): Duplex
}

/** Carries the sessions of a gateway. */
export interface ServerCarrier {
  /** As in {@link Carrier}. */
  context(certificates: string, key: string, roots: string): CarrierContext
  /** Begins TLS on a connection that was accepted. The carrier has a descriptor of its own for it: the caller closes this one. */
  accept(descriptor: number, context: CarrierContext, windows: Windows, events: ServedEvents): ServedSession
  /** Looks at what streams have carried; called about every second with the clock's time. */
  look(now: number): void
  /** Ends everything. When this returns, the ends have been reported. */
  close(): void
}

/** None is called before `accept` returns, and none after `ended`. */
export interface ServedEvents {
  /** TLS stands. The certificates of the other end in DER, its own first, if it has shown one; 0 or OpenSSL's code of their verification. */
  secured(chain: readonly Buffer[], verified: number): void
  asked(request: ServedRequest): void
  pong(): void
  /** The last event, after those of its streams. */
  ended(why: string): void
}

export interface ServedSession {
  /** The client is accepted: HTTP/2 begins, and it may have so many streams. */
  start(streams: number): void
  /** Sends a GOAWAY. Without a code streams in progress go on, and the session ends with the last. */
  leave(code: number, text: string): void
  /** Ends it with a GOAWAY, and waits until the other end has closed too; called again, it waits no longer. Without another event. */
  close(code: number): void
  /** Bytes that have come so far. */
  received(): number
  ping(): void
  setWindow(bytes: number): void
}

/** A request of the other end: one of `refuse`, `join` and `bytes` takes it. */
export interface ServedRequest {
  /** Those that begin with a colon, and `forwarded`. */
  readonly headers: Readonly<Record<string, string>>
  /** Nothing can be answered any more. */
  readonly isOver: boolean
  /** It has ended otherwise than with the last byte of both ends. */
  readonly isBroken: boolean
  /** Called once when it has ended, unless it was refused or reset from here. */
  onEnd(listener: () => void): void
  respond(headers: Readonly<Record<string, string>>): void
  /** An answer without a body. */
  refuse(headers: Readonly<Record<string, string>>): void
  /**
   * Answers, and passes bytes between the other end and the backend, whose socket must not have been read; it is closed here. `done` is
   * called exactly once, with undefined after {@link ServedBytes.cut}, and never before this returns.
   */
  join(
    backend: Socket,
    headers: Readonly<Record<string, string>>,
    done: (reason: CloseReason | undefined) => void,
  ): ServedBytes
  /** Its bytes, for this process; the same at each call. It may be called before {@link respond}. */
  bytes(): Duplex
  reset(code: number): void
}

/** The bytes of one stream on their way, as they were at the last look. */
export interface ServedBytes {
  /** Bytes to the backend. */
  readonly sent: number
  /** Bytes from the backend. */
  readonly received: number
  /** Grows whenever anything has moved. */
  readonly progress: number
  /** One side has ended and all its bytes are passed on. */
  readonly halfClosed: boolean
  /** Resets both sides. */
  cut(): void
}
