/** A link by node:tls and node:http2, on JavaScript's thread. */
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2'
import type { Socket } from 'node:net'
import { connect as connectTls, type SecureContext, type TLSSocket } from 'node:tls'
import { unmapped } from '../../model/address.ts'
import { messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import { countChunksAsHeap } from '../../model/program/heap.ts'
import { presentedBy } from '../certificates/examine.ts'
import { clientSettings, sessionMemory, sessionWindow, streamsPerTunnel } from '../wire/settings.ts'
import { EagerSocket } from './eager-socket.ts'
import type { GatewayAddress, Link, LinkEvents, LinkStream, RequestEvents } from './link.ts'
import { ConnectedStream } from './stream.ts'

/** All that the gateway may send before something of it is read, and frames around it. */
const mostUnread = sessionWindow + (1 << 20)

export class NodeLink implements Link {
  readonly #gateway: GatewayAddress
  readonly #events: LinkEvents
  readonly #log: Log
  readonly #socket: Socket
  readonly #secure: TLSSocket
  #session: ClientHttp2Session | undefined
  #over = false

  /** `carrier`: a connection that leads to the gateway already. */
  constructor(
    gateway: GatewayAddress,
    secureContext: SecureContext,
    carrier: Socket | undefined,
    log: Log,
    events: LinkEvents,
  ) {
    countChunksAsHeap()
    this.#gateway = gateway
    this.#events = events
    this.#log = log
    const { host, port, lookup } = gateway
    const eager = new EagerSocket(carrier ?? { host, port, ...(lookup && { lookup }) }, mostUnread)
    const secure = connectTls({
      socket: eager,
      secureContext,
      ALPNProtocols: ['h2'],
      // No SNI, and no host name in its certificate: it is known by its SPIFFE id, which is examined below.
      servername: '',
      checkServerIdentity: () => undefined,
      rejectUnauthorized: false,
    })
    this.#socket = eager.socket
    this.#secure = secure
    eager.socket.setNoDelay(true)
    for (const one of [eager, secure]) {
      one.on('error', error => this.#ended(`the connection failed: ${messageOf(error)}`))
      one.once('close', () => this.#ended('it closed the connection'))
    }
    secure.once('secureConnect', () => this.#secured())
  }

  /** A session is closed before its GOAWAY is an event. */
  get isOpen(): boolean {
    return this.#session?.closed === false
  }

  get localAddress(): string | undefined {
    const { localAddress } = this.#socket
    return localAddress && unmapped(localAddress)
  }

  count(): { readonly received: number; readonly sent: number } {
    return { received: this.#socket.bytesRead, sent: this.#socket.bytesWritten }
  }

  ping(done: (roundTripMs: number) => void): void {
    const session = this.#session
    if (!session || session.destroyed || session.closed) return
    session.ping((error, ms) => {
      if (!error) done(ms)
    })
  }

  setWindow(bytes: number): void {
    this.#session?.settings({ initialWindowSize: bytes })
  }

  request(headers: Readonly<Record<string, string>>, events: RequestEvents): LinkStream | undefined {
    const session = this.#session
    if (!session || session.closed || session.destroyed) return undefined
    let stream: ClientHttp2Stream
    try {
      stream = session.request(headers, { endStream: false })
    } catch (error) {
      this.#log.debug('tunnel.stream-failed', { gateway: this.#gateway.text, why: messageOf(error) })
      return undefined
    }
    stream.on('error', () => {})
    stream.once('response', answer =>
      events.answered(answer[':status'] ?? 0, textOf(answer['proxy-status']), answer.date),
    )
    stream.once('close', () => events.closed(stream.rstCode ?? 0))
    return new NodeStream(stream, this.localAddress)
  }

  close(): void {
    this.#over = true
    const session = this.#session
    if (session && !session.destroyed) session.destroy(undefined, constants.NGHTTP2_CANCEL)
    this.#secure.destroy()
    this.#socket.destroy()
  }

  #secured(): void {
    if (this.#over) return
    const socket = this.#secure
    if (socket.alpnProtocol !== 'h2') return this.#ended('it does not speak HTTP/2 (ALPN h2)')
    if (!this.#events.secured(presentedBy(socket))) return
    const session = connect(`https://${this.#gateway.text}`, {
      createConnection: () => socket,
      settings: clientSettings,
      maxSessionMemory: sessionMemory,
      peerMaxConcurrentStreams: streamsPerTunnel,
    })
    this.#session = session
    session.on('error', error => this.#ended(messageOf(error)))
    session.once('close', () => this.#ended('it closed the session'))
    session.on('goaway', (code, _last, data) => {
      if (!this.#over) this.#events.leaving(code, data ? Buffer.from(data).toString('utf8') : '')
    })
    session.on('stream', stream => stream.close(constants.NGHTTP2_REFUSED_STREAM)) // a push, which was not asked for
    session.once('connect', () => session.setLocalWindowSize(sessionWindow))
    session.once('remoteSettings', ({ maxConcurrentStreams }) => {
      if (!this.#over) this.#events.ready(maxConcurrentStreams ?? streamsPerTunnel)
    })
  }

  #ended(why: string): void {
    if (this.#over) return
    this.close()
    this.#events.ended(why)
  }
}

export class NodeStream implements LinkStream {
  readonly #stream: ClientHttp2Stream
  readonly #localAddress: string | undefined

  constructor(stream: ClientHttp2Stream, localAddress: string | undefined) {
    this.#stream = stream
    this.#localAddress = localAddress
  }

  close(code: number): void {
    this.#stream.resume()
    if (!this.#stream.closed) this.#stream.close(code)
  }

  connection(): ConnectedStream {
    return new ConnectedStream(this.#stream, this.#localAddress)
  }

  bytes(): ClientHttp2Stream {
    return this.#stream
  }
}

function textOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(', ') : value
}
