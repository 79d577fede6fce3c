/** The gateway's side of connections and of HTTP/2 on them, whoever speaks it: node:http2, or a pump. Both decide nothing. */
import type { Server, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { CloseReason } from '../../model/flow.ts'
import type { ServedBytes } from '../../model/tunnel/carrier.ts'
import type { Credentials } from '../certificates/credentials.ts'
import type { Presented } from '../certificates/examine.ts'

export interface DoorEvents {
  /** TLS stands. */
  arrived(arrival: Arrival): void
  /** It does not, with the client at this address. */
  failed(address: string, why: string): void
}

/** Where clients come in. */
export interface Door {
  /** Listens, and is closed, by its owner. At most `maxConnections` clients are there at a time. */
  readonly server: Server
  /** Shows the certificates as they are now to those who come from now on. Throws what is wrong with them. */
  renew(credentials: Credentials): void
  /** Resolves when nobody is in the middle of the handshake, which has a time limit. For one that listens no more. */
  settled(): Promise<void>
  /** Ends who is in the middle of it. */
  close(): void
}

/** A client whose certificate is to be examined: one of the three methods takes it. */
export interface Arrival {
  readonly address: string
  readonly port: number
  readonly speaksHttp2: boolean
  readonly presented: Presented
  begin(limits: SessionLimits, events: SessionEvents): Session
  /** Tells it why in a GOAWAY, and ends. */
  refuse(why: string): void
  drop(): void
}

export interface SessionLimits {
  readonly streams: number
  /** In MiB, where that can be limited apart from windows. */
  readonly memory: number
}

/** None is called before `begin` returns. */
export interface SessionEvents {
  stream(stream: ServerStream): void
  failed(why: string): void
  /** The last event, once; also after {@link Session.destroy}. */
  ended(): void
}

export interface Session {
  readonly isOver: boolean
  /** Bytes that have come so far. */
  received(): number
  /** `done` is not called where the session ends before the answer. */
  ping(done: () => void): void
  /** Of each stream, in bytes. */
  setWindow(bytes: number): void
  /** Takes no new streams; ends when those in progress have. */
  leave(): void
  /** Ends it with a GOAWAY, which the peer may take a while to read. */
  destroy(code: number): void
  /** That while is over. */
  abandon(): void
}

export type Headers = Readonly<Record<string, string | string[] | undefined>>

/** One request: one of `refuse`, `join` and `bytes` takes it. */
export interface ServerStream {
  readonly headers: Headers
  /** Nothing can be answered any more. */
  readonly isOver: boolean
  /** It has ended by a reset, or with its session. */
  readonly isBroken: boolean
  /** Called once when it has ended. */
  onEnd(listener: () => void): void
  respond(headers: Readonly<Record<string, string>>): void
  /** An answer without a body; what else comes of the request is dropped. */
  refuse(headers: Readonly<Record<string, string>>): void
  /** Answers with 200, and passes bytes between it and the backend, whose socket is paused. As in {@link ServedRequest}. */
  join(backend: Socket, done: (reason: CloseReason | undefined) => void): ServedBytes
  /** For this process; the same at each call. It may be called before {@link respond}. */
  bytes(): Duplex
  /** A reset, by default one that the peer takes for the backend's. */
  reset(code?: number): void
}
