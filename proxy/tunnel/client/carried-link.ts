/** A link in the pump of the engine native: its bytes never come to JavaScript, which connects, decides and counts. */
import { X509Certificate } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { unmapped } from '../../model/address.ts'
import { messageOf } from '../../model/error.ts'
import { descriptorOf } from '../../model/sockets/passing.ts'
import type { CarriedStream, CarriedTunnel, Carrier, CarrierContext } from '../../model/tunnel/carrier.ts'
import type { TunnelStream } from '../../model/tunnel/tunnels.ts'
import { verificationCode } from '../certificates/examine.ts'
import { sessionWindow, streamWindow } from '../wire/settings.ts'
import type { GatewayAddress, Link, LinkEvents, LinkStream, RequestEvents } from './link.ts'

const nothing = { received: 0, sent: 0 }

export class CarriedLink implements Link {
  readonly #carrier: Carrier
  readonly #context: CarrierContext
  readonly #events: LinkEvents
  readonly #socket: Socket
  localAddress: string | undefined
  #tunnel: CarriedTunnel | undefined
  #ponged: ((roundTripMs: number) => void) | undefined
  readonly #streams = new Set<CarriedLinkStream>()
  #over = false
  /** It has said that it takes no more streams. */
  #isLeaving = false

  /** `open`: a connection that leads to the gateway already. */
  constructor(
    gateway: GatewayAddress,
    carrier: Carrier,
    context: CarrierContext,
    open: Socket | undefined,
    events: LinkEvents,
  ) {
    this.#carrier = carrier
    this.#context = context
    this.#events = events
    this.#socket =
      open ?? connect({ host: gateway.host, port: gateway.port, ...(gateway.lookup && { lookup: gateway.lookup }) })
    this.#socket.on('error', error => this.#ended(`the connection failed: ${messageOf(error)}`))
    this.#socket.once('close', () => {
      if (!this.#tunnel) this.#ended('it closed the connection')
    })
    if (open) queueMicrotask(() => this.#give())
    else this.#socket.once('connect', () => this.#give())
  }

  get isOpen(): boolean {
    return !this.#over && !this.#isLeaving && this.#tunnel !== undefined
  }

  count(): { readonly received: number; readonly sent: number } {
    return this.#tunnel?.count() ?? nothing
  }

  ping(done: (roundTripMs: number) => void): void {
    this.#ponged = done
    this.#tunnel?.ping()
  }

  setWindow(bytes: number): void {
    this.#tunnel?.setWindow(bytes)
  }

  request(headers: Readonly<Record<string, string>>, events: RequestEvents): LinkStream | undefined {
    if (!this.isOpen || !this.#tunnel) return undefined
    const one: CarriedLinkStream = new CarriedLinkStream(
      this.#tunnel,
      headers,
      events,
      () => void this.#streams.delete(one),
    )
    this.#streams.add(one)
    return one
  }

  close(): void {
    if (this.#over) return
    this.#over = true
    this.#socket.destroy()
    this.#tunnel?.close()
    for (const stream of [...this.#streams]) stream.lost()
  }

  /** TLS begins before anything is read here: a server waits for the client's first bytes. */
  #give(): void {
    if (this.#over) return
    this.#socket.setNoDelay(true)
    const { localAddress } = this.#socket
    this.localAddress = localAddress && unmapped(localAddress)
    const descriptor = descriptorOf(this.#socket)
    if (descriptor === undefined) return this.#ended('it closed the connection')
    this.#tunnel = this.#carrier.open(
      descriptor,
      this.#context,
      { stream: streamWindow(0), session: sessionWindow },
      {
        secured: (chain, verified) => this.#secured(chain, verified),
        ready: streams => {
          if (!this.#over) this.#events.ready(streams)
        },
        pong: ms => {
          if (!this.#over) this.#ponged?.(ms)
        },
        leaving: (code, text) => {
          this.#isLeaving = true
          if (!this.#over) this.#events.leaving(code, text)
        },
        ended: why => this.#ended(/^its? /.test(why) ? why : `the connection failed: ${why}`),
      },
    )
    this.#socket.destroy()
  }

  #secured(chain: readonly Buffer[], verified: number): void {
    if (this.#over) return
    try {
      const [certificate, ...issuers] = chain.map(der => new X509Certificate(der))
      const error = verified === 0 ? undefined : verificationCode(verified)
      if (this.#events.secured({ certificate, issuers, error, isResumed: false })) this.#tunnel?.start()
    } catch (error) {
      this.#ended(`its certificate cannot be read: ${messageOf(error)}`)
    }
  }

  #ended(why: string): void {
    if (this.#over) return
    this.close()
    this.#events.ended(why)
  }
}

class CarriedLinkStream implements LinkStream {
  readonly #stream: CarriedStream
  readonly #events: RequestEvents
  readonly #forget: () => void
  #over = false

  constructor(
    tunnel: CarriedTunnel,
    headers: Readonly<Record<string, string>>,
    events: RequestEvents,
    forget: () => void,
  ) {
    this.#events = events
    this.#forget = forget
    this.#stream = tunnel.request(headers, {
      answered: (status, reason) => {
        if (!this.#over) events.answered(status, reason)
      },
      ended: code => this.#end(code),
    })
  }

  close(code: number): void {
    if (this.#over) return
    this.#stream.reset(code)
    // As node:http2 does it: the caller is not called back before this returns.
    queueMicrotask(() => this.#end(code))
  }

  connection(): TunnelStream {
    const { token, pump } = this.#stream
    return new CarriedConnection({
      token,
      pump,
      taken: () => this.#stream.taken(),
      over: () => this.#end(0),
      reset: () => this.close(resetCode),
    })
  }

  bytes(): Duplex {
    const stream = this.#stream.bytes()
    stream.on('error', () => {})
    stream.once('close', () => this.#end(0))
    return stream
  }

  /** The link is closed. */
  lost(): void {
    this.#stream.taken()
    this.#end(resetCode)
  }

  #end(code: number): void {
    if (this.#over) return
    this.#over = true
    this.#forget()
    this.#events.closed(code)
  }
}

/** CANCEL of RFC 9113, 7. */
const resetCode = 8

class CarriedConnection implements TunnelStream {
  readonly carried: NonNullable<TunnelStream['carried']>
  readonly #reset: () => void

  constructor({ reset, ...carried }: NonNullable<TunnelStream['carried']> & { reset(): void }) {
    this.carried = carried
    this.#reset = reset
  }

  write(): void {
    throw new Error('the pump has the stream')
  }

  carry(): never {
    throw new Error('the pump has the stream')
  }

  reset(): void {
    this.#reset()
  }
}
