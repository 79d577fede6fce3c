/** Clients come in by node:tls. */
import { constants, performServerHandshake } from 'node:http2'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import { unmapped } from '../../model/address.ts'
import { messageOf } from '../../model/error.ts'
import { countChunksAsHeap } from '../../model/program/heap.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { Credentials } from '../certificates/credentials.ts'
import { type Presented, presentedBy } from '../certificates/examine.ts'
import { handshakeMs, refusalMs, refusalText, serverSettings } from '../wire/settings.ts'
import type { Arrival, Door, DoorEvents, Session, SessionEvents, SessionLimits } from './door.ts'
import { NodeSession } from './node-session.ts'

export class NodeDoor implements Door {
  readonly server: Server
  #shaking = 0
  #whenSettled: (() => void) | undefined

  constructor(credentials: Credentials, clock: Clock, events: DoorEvents) {
    countChunksAsHeap()
    const server = createServer({
      ...credentials.serverOptions(),
      requestCert: true,
      // Refused by who opens the door, with a reason.
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
      handshakeTimeout: handshakeMs,
      noDelay: true,
    })
    this.server = server
    server.on('connection', () => {
      this.#shaking++
    })
    server.on('secureConnection', socket => {
      this.#shaken()
      socket.on('error', () => {})
      if (!socket.destroyed) events.arrived(new NodeArrival(socket, clock))
    })
    server.on('tlsClientError', (error, { remoteAddress = '' }) => {
      this.#shaken()
      events.failed(unmapped(remoteAddress), `the TLS handshake failed: ${messageOf(error)}`)
    })
  }

  renew(credentials: Credentials): void {
    const options = credentials.serverOptions()
    if (options) this.server.setSecureContext(options)
  }

  settled(): Promise<void> {
    return new Promise(resolve => {
      if (this.#shaking === 0) resolve()
      else this.#whenSettled = resolve
    })
  }

  close(): void {}

  #shaken(): void {
    this.#shaking--
    if (this.#shaking === 0) this.#whenSettled?.()
  }
}

class NodeArrival implements Arrival {
  readonly address: string
  readonly port: number
  readonly speaksHttp2: boolean
  readonly presented: Presented
  readonly #socket: TLSSocket
  readonly #clock: Clock

  constructor(socket: TLSSocket, clock: Clock) {
    this.#socket = socket
    this.#clock = clock
    this.address = unmapped(socket.remoteAddress ?? '')
    this.port = socket.remotePort ?? 0
    this.speaksHttp2 = socket.alpnProtocol === 'h2'
    this.presented = presentedBy(socket)
  }

  begin(limits: SessionLimits, events: SessionEvents): Session {
    return new NodeSession(this.#socket, limits, events)
  }

  /** TLS is up by now, so that the peer can be told why; HTTP/2 has room for that in GOAWAY. */
  refuse(why: string): void {
    if (!this.speaksHttp2) return this.drop()
    const session = performServerHandshake(this.#socket, { settings: { ...serverSettings, maxConcurrentStreams: 0 } })
    session.on('error', () => {})
    session.on('stream', stream => stream.on('error', () => {}).close(constants.NGHTTP2_REFUSED_STREAM))
    session.goaway(constants.NGHTTP2_INADEQUATE_SECURITY, 0, Buffer.from(refusalText(why)))
    this.#clock.after(refusalMs, () => session.destroy())
  }

  drop(): void {
    this.#socket.destroy()
  }
}
