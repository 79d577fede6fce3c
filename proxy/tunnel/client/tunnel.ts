/**
 * One tunnel: a session of HTTP/2 over mutual TLS with a gateway of another cluster.
 *
 *     connecting ─▶ open ⇄ suspect ─▶ leaving ─▶ closed
 *
 * A tunnel is suspect when nothing has come from it for a while although something was due: new connections go to others, those in
 * progress wait. It is given up when it stays silent.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type OutgoingHttpHeaders,
} from 'node:http2'
import type { LookupFunction, Socket } from 'node:net'
import { connect as connectTls, type SecureContext, type TLSSocket } from 'node:tls'
import { messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Clock } from '../../model/time/clock.ts'
import { type ClusterIdentity, gatewayOf } from '../../model/tunnel/identity.ts'
import type { Credentials } from '../certificates/credentials.ts'
import { examine, examineAgain, type Shown } from '../certificates/examine.ts'
import { keepsRoots, type Material } from '../certificates/material.ts'
import { clientSettings, sessionMemory, sessionWindow, streamsPerTunnel, streamWindow } from '../wire/settings.ts'
import { type HttpProxy, throughProxy } from './http-proxy.ts'

export interface TunnelParts {
  /** `gw.example:15008` */
  readonly gateway: GatewayAddress
  readonly identity: ClusterIdentity
  readonly credentials: Credentials
  readonly clock: Clock
  readonly log: Log
}

export interface GatewayAddress {
  /** The HTTP proxy that it is reached through, if any. */
  readonly proxy?: HttpProxy | undefined
  readonly host: string
  readonly port: number
  readonly text: string
  /** Looks its name up, if it must not lead to any address; the same function for the same rules. */
  readonly lookup?: LookupFunction
}

export interface TunnelEvents {
  opened(): void
  /** It takes no new streams from now on, or takes them again. */
  changed(): void
  /** The last event. `why` is undefined if it was closed because nobody needs it. */
  closed(why: string | undefined): void
}

export type TunnelState = 'connecting' | 'open' | 'suspect' | 'leaving' | 'closed'

/** A connection to a gateway, TLS and HTTP/2 included, takes no longer. */
const connectMs = 5000
/** How often a tunnel is looked at. */
export const lookMs = 250
/** A ping that is not answered within this makes it suspect: 2 s after it died at the latest, if something was due. */
const suspectMs = 900
const giveUpMs = 10_000
/** One that is silent with nothing due is asked this often. */
const idlePingMs = 10_000

export class Tunnel {
  readonly parts: TunnelParts
  readonly since: number
  state: TunnelState = 'connecting'
  /** Open, and those that wait for their answer. */
  streams = 0
  roundTripMs: number | undefined
  shown: Shown | undefined
  /** What we have shown. */
  material: Material | undefined
  idleSince: number
  /** Its gateway has said that it stops. Perhaps another process listens there by now. */
  isStopping = false
  /** With the roots that the gateway's certificate leads to. */
  #rootsOf: Material | undefined
  readonly #events: TunnelEvents
  #socket: TLSSocket | undefined
  #session: ClientHttp2Session | undefined
  #cancelConnect: () => void = () => {}
  #why: string | undefined
  #bytesRead = 0
  /** When something last came. */
  #bytesWritten = 0
  #dueSince = 0
  #heardAt: number
  #pingedAt: number | undefined
  #lookedAt: number
  #maxStreams = streamsPerTunnel
  #window = streamWindow(0)
  readonly #pending = new Set<() => void>()

  constructor(parts: TunnelParts, events: TunnelEvents) {
    this.parts = parts
    this.#events = events
    this.since = parts.clock.wall()
    this.#heardAt = parts.clock.now()
    this.#lookedAt = parts.clock.now()
    this.idleSince = parts.clock.now()
    this.#connect()
  }

  /** Whether it takes another stream. A session is closed before its GOAWAY is an event. */
  get hasRoom(): boolean {
    return this.state === 'open' && this.streams < this.#maxStreams && this.#session?.closed === false
  }

  /**
   * Opens a stream; `moved` is called once if its answer should not be waited for here: the tunnel is suspect or gone. Call the
   * function returned when the answer has come, or no longer matters. A stream that is no flow does not keep the tunnel.
   */
  open(
    headers: OutgoingHttpHeaders,
    moved: () => void,
    isFlow = true,
  ): { stream: ClientHttp2Stream; settled: () => void } | undefined {
    const session = this.#session
    if (!session || session.closed || session.destroyed) return undefined
    let stream: ClientHttp2Stream
    try {
      stream = session.request(headers, { endStream: false })
    } catch (error) {
      this.parts.log.debug('tunnel.stream-failed', { gateway: this.parts.gateway.text, why: messageOf(error) })
      return undefined
    }
    // What is due from now on is due from now, not since something came last.
    if (!this.#isDue) this.#dueSince = this.parts.clock.now()
    if (isFlow) this.streams++
    this.#pending.add(moved)
    stream.on('error', () => {})
    stream.once('close', () => {
      this.#pending.delete(moved)
      if (!isFlow) return
      this.streams--
      if (this.streams > 0) return
      this.idleSince = this.parts.clock.now()
      if (this.state === 'leaving') this.close(undefined)
    })
    return { stream, settled: () => this.#pending.delete(moved) }
  }

  /** Looks for life; called every {@link lookMs}. `inUse`: streams of the whole process, which share memory. */
  look(inUse: number): void {
    const session = this.#session
    const socket = this.#socket
    const now = this.parts.clock.now()
    const pausedMs = Math.max(0, now - this.#lookedAt - lookMs)
    this.#lookedAt = now
    if (!session || !socket || this.state === 'connecting' || this.state === 'closed') return
    // While this process does not run, it reads no answers either: of that time only one interval counts.
    this.#dueSince += pausedMs
    if (this.#pingedAt !== undefined) this.#pingedAt += pausedMs
    if (socket.bytesRead !== this.#bytesRead) {
      this.#bytesRead = socket.bytesRead
      this.#heard(now)
    }
    this.#fitWindow(inUse)
    const silentMs = now - this.#heardAt
    if (!this.#isDue) this.#dueSince = now
    if (this.#pingedAt === undefined) {
      if (now - this.#dueSince >= lookMs || silentMs >= idlePingMs) this.#ping(session, now)
      return
    }
    const waitedMs = now - this.#pingedAt
    if (waitedMs >= giveUpMs) this.close(`nothing has come from it for ${Math.round(silentMs / 1000)} s`)
    else if (waitedMs >= suspectMs && this.state === 'open') this.#suspect()
  }

  /** Whether the gateway's certificate would still be accepted; if not, closes the tunnel. */
  examineAgain(material: Material): void {
    const { shown, parts } = this
    if (!shown || this.state === 'closed') return
    const { identity } = parts
    const isRooted =
      this.#rootsOf !== undefined && keepsRoots(this.#rootsOf, material, identity.cluster, identity.trustDomain)
    const { why } = examineAgain(shown, material, id => gatewayOf(id, identity), parts.clock.wall(), isRooted)
    if (why === undefined) this.#rootsOf = material
    if (why !== undefined) this.close(why)
  }

  /** Takes no new streams, and closes with the last one. */
  leave(): void {
    if (this.state === 'closed' || this.state === 'leaving') return
    if (this.state === 'connecting' || this.streams === 0) return this.close(undefined)
    this.state = 'leaving'
    this.#events.changed()
  }

  /** Ends it now, with all its streams. */
  close(why: string | undefined): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.#cancelConnect()
    const session = this.#session
    if (session && !session.destroyed) session.destroy(undefined, constants.NGHTTP2_CANCEL)
    this.#socket?.destroy()
    this.#moveAll()
    this.#events.closed(why ?? this.#why)
  }

  #connect(): void {
    const { gateway, credentials, identity, clock } = this.parts
    const secureContext = credentials.contextFor(identity.cluster)
    this.material = credentials.material
    if (!secureContext || !this.material) {
      queueMicrotask(() => this.close('there is no usable certificate to show to it'))
      return
    }
    this.#cancelConnect = clock.after(connectMs, () => this.close(`no connection within ${connectMs} ms`))
    const { proxy } = gateway
    if (!proxy) return this.#secure(secureContext, undefined)
    const stopTimer = this.#cancelConnect
    const cancel = throughProxy(gateway, proxy, (why, carrier) => {
      this.#cancelConnect = stopTimer
      if (!carrier) return this.close(why)
      this.#secure(secureContext, carrier)
    })
    this.#cancelConnect = () => {
      stopTimer()
      cancel()
    }
  }

  #secure(secureContext: SecureContext, carrier: Socket | undefined): void {
    const { gateway } = this.parts
    const socket = connectTls({
      ...(carrier
        ? { socket: carrier }
        : { host: gateway.host, port: gateway.port, ...(gateway.lookup && { lookup: gateway.lookup }) }),
      secureContext,
      ALPNProtocols: ['h2'],
      // No SNI, and no host name in its certificate: it is known by its SPIFFE id, which is examined below.
      servername: '',
      checkServerIdentity: () => undefined,
      rejectUnauthorized: false,
    })
    socket.setNoDelay(true)
    socket.on('error', error => this.close(this.#why ?? `the connection failed: ${messageOf(error)}`))
    socket.once('close', () => this.close(this.#why ?? 'it closed the connection'))
    socket.once('secureConnect', () => this.#secured(socket))
    this.#socket = socket
  }

  #secured(socket: TLSSocket): void {
    const { material, parts } = this
    if (!material || this.state !== 'connecting') return
    if (socket.alpnProtocol !== 'h2') return this.close('it does not speak HTTP/2 (ALPN h2)')
    const found = examine(socket, material, id => gatewayOf(id, parts.identity), parts.clock.wall())
    if (found.why !== undefined) {
      parts.log.warn('tunnel.refused', { gateway: parts.gateway.text, cluster: parts.identity.cluster, why: found.why })
      return this.close(found.why)
    }
    this.shown = found.shown
    this.#rootsOf = material
    const session = connect(`https://${parts.gateway.text}`, {
      createConnection: () => socket,
      settings: clientSettings,
      maxSessionMemory: sessionMemory,
      peerMaxConcurrentStreams: streamsPerTunnel,
    })
    this.#session = session
    session.on('error', error => this.close(this.#why ?? messageOf(error)))
    session.once('close', () => this.close(this.#why ?? 'it closed the session'))
    session.on('goaway', (code, _last, data) => this.#onGoaway(code, data))
    session.on('stream', stream => stream.close(constants.NGHTTP2_REFUSED_STREAM)) // a push, which was not asked for
    session.once('connect', () => session.setLocalWindowSize(sessionWindow))
    // The first frame of the other side: it has accepted our certificate.
    session.once('remoteSettings', ({ maxConcurrentStreams }) => {
      if (this.state !== 'connecting' || this.#why !== undefined) return
      this.#maxStreams = Math.min(streamsPerTunnel, maxConcurrentStreams ?? streamsPerTunnel)
      if (this.#maxStreams === 0) return // it will say why
      this.#cancelConnect()
      this.state = 'open'
      this.#heard(parts.clock.now())
      this.#ping(session, parts.clock.now())
      this.#events.opened()
    })
  }

  #onGoaway(code: number, data?: Uint8Array): void {
    const text = data && data.length > 0 ? printable(Buffer.from(data).toString('utf8')) : ''
    if (code === constants.NGHTTP2_NO_ERROR) {
      this.isStopping = true
      if (this.state === 'connecting') return this.close('it is stopping')
      this.#why ??= 'it is stopping'
      this.leave()
      return
    }
    this.#why = text || `it ends the session with code ${code}`
    if (this.state === 'connecting') {
      this.parts.log.warn('tunnel.refused', {
        gateway: this.parts.gateway.text,
        cluster: this.parts.identity.cluster,
        why: this.#why,
      })
      this.close(this.#why)
    }
  }

  /** Whether something should come soon: an answer, or a sign that what was sent has arrived. */
  get #isDue(): boolean {
    return this.#pending.size > 0 || (this.#socket?.bytesWritten ?? 0) > this.#bytesWritten
  }

  #ping(session: ClientHttp2Session, now: number): void {
    if (session.destroyed || session.closed) return
    this.#pingedAt = now
    session.ping((error, ms) => {
      if (error) return
      this.roundTripMs = ms
      this.#heard(this.parts.clock.now())
    })
  }

  #heard(now: number): void {
    this.#heardAt = now
    this.#dueSince = now
    this.#pingedAt = undefined
    this.#bytesWritten = this.#socket?.bytesWritten ?? 0
    if (this.state !== 'suspect') return
    this.state = 'open'
    this.#events.changed()
  }

  #suspect(): void {
    this.state = 'suspect'
    this.#moveAll()
    this.#events.changed()
  }

  /** As {@link streamWindow} says, for the streams of the whole process. */
  #fitWindow(inUse: number): void {
    const window = streamWindow(inUse)
    if (window === this.#window) return
    this.#window = window
    this.#session?.settings({ initialWindowSize: window })
  }

  #moveAll(): void {
    const moved = [...this.#pending]
    this.#pending.clear()
    for (const move of moved) move()
  }
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 500)
}
