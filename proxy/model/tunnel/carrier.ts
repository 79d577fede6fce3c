/** Who carries tunnels in the place of node:tls and node:http2: the pump of the engine native. All decisions stay with its user. */
import type { Duplex } from 'node:stream'

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
  /** Of one that is not taken. No event follows. */
  reset(code: number): void
  /** A connection takes it: no event follows. */
  taken(): void
  /** This process takes it: its bytes, once it is answered with 200. A reset is an end here. */
  bytes(): Duplex
}
