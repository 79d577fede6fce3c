/** Clients come in by node:net, and go on in the pump of the gateway: their bytes never come to JavaScript. */
import { X509Certificate } from 'node:crypto'
import { constants } from 'node:http2'
import { createServer, type Server, type Socket } from 'node:net'
import { unmapped } from '../../model/address.ts'
import { messageOf } from '../../model/error.ts'
import { descriptorOf } from '../../model/sockets/passing.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { CarrierContext, ServedSession, ServerCarrier } from '../../model/tunnel/carrier.ts'
import type { Credentials } from '../certificates/credentials.ts'
import { type Presented, verificationCode } from '../certificates/examine.ts'
import { handshakeMs, refusalMs, refusalText, sessionWindow, streamWindow } from '../wire/settings.ts'
import { CarriedSession } from './carried-session.ts'
import type { Arrival, Door, DoorEvents, Session, SessionEvents, SessionLimits } from './door.ts'

export class CarriedDoor implements Door {
  readonly server: Server
  readonly #carrier: ServerCarrier
  readonly #clock: Clock
  readonly #events: DoorEvents
  readonly #shaking = new Set<CarriedArrival>()
  #whenSettled: (() => void) | undefined
  #context: CarrierContext
  /** Those whose session has not ended. */
  #clients = 0

  /** Throws what is wrong with the certificates. */
  constructor(credentials: Credentials, carrier: ServerCarrier, clock: Clock, events: DoorEvents) {
    this.#carrier = carrier
    this.#clock = clock
    this.#events = events
    this.#context = contextOf(credentials, carrier)
    // TLS begins in the pump, with the client's first bytes: nothing is read before.
    this.server = createServer({ pauseOnConnect: true, noDelay: true }, socket => this.#accept(socket))
  }

  renew(credentials: Credentials): void {
    this.#context = contextOf(credentials, this.#carrier)
  }

  settled(): Promise<void> {
    return new Promise(resolve => {
      if (this.#shaking.size === 0) resolve()
      else this.#whenSettled = resolve
    })
  }

  close(): void {
    for (const arrival of [...this.#shaking]) arrival.drop()
  }

  #accept(socket: Socket): void {
    socket.on('error', () => {})
    const descriptor = descriptorOf(socket)
    if (descriptor === undefined || this.#clients >= this.server.maxConnections) return void socket.destroy()
    const address = unmapped(socket.remoteAddress ?? '')
    const failed = (why: string) => {
      end()
      this.#events.failed(address, why)
    }
    const arrival = new CarriedArrival(address, socket.remotePort ?? 0, this.#clock, {
      secured: () => {
        end()
        this.#events.arrived(arrival)
      },
      failed,
      dropped: () => end(),
      ended: () => {
        this.#clients--
      },
    })
    this.#clients++
    this.#shaking.add(arrival)
    const cancel = this.#clock.after(handshakeMs, () => {
      arrival.drop()
      failed(`the TLS handshake failed: it took longer than ${handshakeMs} ms`)
    })
    const end = () => {
      cancel()
      this.#shaking.delete(arrival)
      if (this.#shaking.size === 0) this.#whenSettled?.()
    }
    const windows = { stream: streamWindow(0), session: sessionWindow }
    arrival.session = this.#carrier.accept(descriptor, this.#context, windows, arrival)
    socket.destroy()
  }
}

function contextOf(credentials: Credentials, carrier: ServerCarrier): CarrierContext {
  const pem = credentials.serverPem()
  if (!pem) throw new Error('there is no usable certificate')
  return carrier.context(pem.cert, pem.key, pem.roots)
}

interface ArrivalEvents {
  secured(): void
  failed(why: string): void
  dropped(): void
  /** The last, once. */
  ended(): void
}

/** From the handshake on; takes the events of the session for whoever has begun it. */
class CarriedArrival implements Arrival {
  readonly address: string
  readonly port: number
  /** Otherwise the handshake fails. */
  readonly speaksHttp2 = true
  presented: Presented = { certificate: undefined, issuers: [], error: undefined, isResumed: false }
  session: ServedSession | undefined
  readonly #clock: Clock
  readonly #events: ArrivalEvents
  #begun: CarriedSession | undefined
  #isSecured = false
  #isOver = false

  constructor(address: string, port: number, clock: Clock, events: ArrivalEvents) {
    this.address = address
    this.port = port
    this.#clock = clock
    this.#events = events
  }

  secured(chain: readonly Buffer[], verified: number): void {
    try {
      const [certificate, ...issuers] = chain.map(der => new X509Certificate(der))
      const error = verified === 0 ? undefined : verificationCode(verified)
      this.presented = { certificate, issuers, error, isResumed: false }
    } catch (error) {
      this.drop()
      return this.#events.failed(`its certificate cannot be read: ${messageOf(error)}`)
    }
    this.#isSecured = true
    this.#events.secured()
  }

  asked(request: Parameters<CarriedSession['asked']>[0]): void {
    if (this.#begun) this.#begun.asked(request)
    else request.reset(constants.NGHTTP2_REFUSED_STREAM)
  }

  pong(): void {
    this.#begun?.pong()
  }

  ended(why: string): void {
    this.#end()
    if (this.#begun) return this.#begun.ended(why)
    if (this.#isSecured) return
    this.#events.failed(/^it does not speak/.test(why) ? why : `the TLS handshake failed: ${why}`)
  }

  begin({ streams }: SessionLimits, events: SessionEvents): Session {
    const session = this.session as ServedSession
    const begun = new CarriedSession(session, this.#clock, {
      ...events,
      ended: () => {
        this.#end()
        events.ended()
      },
    })
    this.#begun = begun
    session.start(streams)
    return begun
  }

  /** TLS is up by now, so that the peer can be told why; HTTP/2 has room for that in GOAWAY. */
  refuse(why: string): void {
    this.session?.leave(constants.NGHTTP2_INADEQUATE_SECURITY, refusalText(why))
    this.session?.start(0)
    this.#clock.after(refusalMs, () => this.drop())
  }

  drop(): void {
    this.#end()
    this.#events.dropped()
    this.session?.close(constants.NGHTTP2_NO_ERROR)
    // A refused one lingers.
    if (this.#isSecured) this.session?.close(constants.NGHTTP2_NO_ERROR)
  }

  #end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#events.ended()
  }
}
