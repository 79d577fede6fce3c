/** What the engines need of tunnels: a dial that ends at a backend behind a gateway, like a dial that ends at a socket. */
import type { Socket } from 'node:net'
import type { Backend } from '../backend.ts'
import type { Client, CloseReason } from '../flow.ts'
import type { Carrier } from './carrier.ts'

/** A connection to a backend through a gateway: open, and not yet carrying anything. */
export interface TunnelStream {
  /** Where the tunnel is in the engine's own pump, which then takes the stream by itself, in the place of `write` and `carry`. */
  readonly carried?: CarriedBy
  /** The canonical address of this machine that the tunnel comes from, as far as it is known; absent where `carried` is there. */
  readonly localAddress?: string | undefined
  /** Sends bytes to the backend before those of the client. */
  write(bytes: Uint8Array): void
  /**
   * Passes bytes between the client's socket and the backend from now on. `done` is called exactly once, when both are closed, and
   * never before this returns.
   */
  carry(client: Socket, done: (reason: CloseReason) => void): Carriage
  /** Gives it up, in place of {@link carry}: the backend's connection is reset. */
  reset(): void
}

/** A stream in the pump. */
export interface CarriedBy {
  /** By which the pump's command `join` takes it. */
  readonly token: number
  /** The index of the pump that has it. */
  readonly pump: number
  /** The pump takes it. */
  taken(): void
  /** The connection that has taken it has ended. */
  over(): void
}

/** The bytes of one connection on their way. */
export interface Carriage {
  /** Bytes from the client. */
  readonly sent: number
  /** Bytes from the backend. */
  readonly received: number
  /** Grows whenever anything moves. */
  readonly progress: number
  /** One side has ended and all its bytes are passed on. */
  readonly halfClosed: boolean
  /** Has the kernel probe a silent client after this. */
  keepAlive(clientMs: number): void
  /** The client's socket has failed. */
  clientFailed(): void
  /** Ends both sides now, with a reset. */
  cut(reason: CloseReason): void
}

/** How a dial ended. The error has a `code` like those of connect(2). */
export type Dialled = (error: Error | undefined, stream: TunnelStream | undefined) => void

/** Datagrams to one backend and back, while they have a way. */
export interface TunnelDatagrams {
  /** Datagrams that do not fit are dropped, as UDP may. */
  send(message: Uint8Array): void
  close(): void
}

export interface DatagramEvents {
  replied(message: Buffer): void
  /** The way is open. Never called before `link` returns, like the others. */
  opened(): void
  /** It is of no more use. `waiting` has not been sent. */
  failed(error: Error, waiting: readonly Uint8Array[]): void
}

export interface Tunnels {
  /** New tunnels are carried by the engine from now on; undefined: no longer. */
  carryBy?(carrier: Carrier | undefined): void
  /** Whether the backend is reached through gateways. Asked for each attempt. */
  carries(backend: Backend): boolean
  /**
   * Calls `done` exactly once, and never before it returns. The function returned gives the dial up, without a call of `done`;
   * it does nothing once the dial has ended.
   */
  dial(backend: Backend, client: Client, done: Dialled): () => void
  /** A way for datagrams. What is sent before it is open waits for it, up to a few datagrams. */
  link(backend: Backend, client: Client, events: DatagramEvents): TunnelDatagrams
}
