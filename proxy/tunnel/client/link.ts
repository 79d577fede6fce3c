/** A connection to a gateway with TLS and HTTP/2 on it, whoever speaks them: node:http2, or the pump of the engine native. */
import type { LookupFunction } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Log } from '../../model/log.ts'
import type { Carrier } from '../../model/tunnel/carrier.ts'
import type { ClusterIdentity } from '../../model/tunnel/identity.ts'
import type { TunnelStream } from '../../model/tunnel/tunnels.ts'
import type { Credentials } from '../certificates/credentials.ts'
import type { Presented } from '../certificates/examine.ts'
import type { HttpProxy } from './http-proxy.ts'

export interface LinkParts {
  readonly gateway: GatewayAddress
  readonly identity: ClusterIdentity
  readonly credentials: Credentials
  /** Who carries new tunnels; undefined: node:http2. */
  readonly carrier?: () => Carrier | undefined
  readonly log: Log
}

export interface GatewayAddress {
  /** The HTTP proxy that it is reached through, if any. */
  readonly proxy?: HttpProxy | undefined
  readonly host: string
  readonly port: number
  /** `gw.example:15008` */
  readonly text: string
  /** Looks its name up, if it must not lead to any address; the same function for the same rules. */
  readonly lookup?: LookupFunction
}

/** None is called before the constructor returns. */
export interface LinkEvents {
  /** TLS stands. False: the link is closed. */
  secured(presented: Presented): boolean
  /** The first frame of the other side: it has accepted our certificate, and takes so many streams. */
  ready(streams: number): void
  /** A GOAWAY. */
  leaving(code: number, text: string): void
  /** It has failed or was closed by the other side; the last event. */
  ended(why: string): void
}

export interface Link {
  /** Whether it takes another stream. */
  readonly isOpen: boolean
  /** The canonical address of this machine that it comes from, as far as it is known. */
  readonly localAddress: string | undefined
  /** Bytes that have come and that were sent so far. */
  count(): { readonly received: number; readonly sent: number }
  /** `done` is not called where the link ends before the answer. */
  ping(done: (roundTripMs: number) => void): void
  /** Of each stream, in bytes. */
  setWindow(bytes: number): void
  /** Undefined if it takes no more streams. */
  request(headers: Readonly<Record<string, string>>, events: RequestEvents): LinkStream | undefined
  /** Ends it now, with all its streams, without an event. */
  close(): void
}

/** None is called before `request` returns. */
export interface RequestEvents {
  /** `reason` is the header `proxy-status`, `date` that of this name, where the link tells it. */
  answered(status: number, reason: string | undefined, date?: string): void
  /** The last event; the code of RST_STREAM. */
  closed(code: number): void
}

export interface LinkStream {
  /** Gives it up. */
  close(code: number): void
  /** Once it was answered with 200, one of these two takes it: the bytes of a connection, or bytes for this process. */
  connection(): TunnelStream
  bytes(): Duplex
}
