/** Tunnels in the pump: TypeScript's side of their commands and events. */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { getSystemErrorName } from 'node:util'
import type {
  CarriedEvents,
  CarriedStream,
  CarriedStreamEvents,
  CarriedTunnel,
  Carrier,
  CarrierContext,
  Windows,
} from '../../model/tunnel/carrier.ts'
import type { NativePump, TunnelCalls } from './addon.ts'
import { Command, Event, type EventRecord, type Rings } from './rings.ts'

/** Why this Node can have no tunnels in the pump; undefined where it can. The addon knows nghttp2's functions of major version 1. */
export function whyNotInPump(calls: TunnelCalls | undefined): string | undefined {
  if (!calls) return 'the addon has none'
  const { nghttp2 = '' } = process.versions
  return calls.why ?? (nghttp2.startsWith('1.') ? undefined : `this Node has nghttp2 ${nghttp2}, and not 1`)
}

/** RFC 9113, 7. */
const cancel = 8

export class PumpTunnels implements Carrier {
  readonly #pump: NativePump
  readonly #rings: Rings
  readonly #calls: TunnelCalls
  readonly #tunnels = new Map<number, PumpTunnel>()
  readonly #streams = new Map<number, CarriedStreamEvents>()
  #lastId = 0

  constructor(pump: NativePump, rings: Rings, calls: TunnelCalls) {
    this.#pump = pump
    this.#rings = rings
    this.#calls = calls
  }

  context(certificates: string, key: string, roots: string): CarrierContext {
    return this.#calls.secureContext(certificates, key, roots, false)
  }

  open(descriptor: number, context: CarrierContext, windows: Windows, events: CarriedEvents): CarriedTunnel {
    const id = this.#newId()
    const errno = this.#pump.openTunnel(id, descriptor, context, windows.stream, windows.session)
    if (errno !== 0) queueMicrotask(() => events.ended(`the engine cannot take it: ${getSystemErrorName(-errno)}`))
    const tunnel: PumpTunnel = new PumpTunnel(events, {
      tell: kind => this.#rings.command(kind, id).setError(cancel).send(),
      setWindow: bytes => this.#rings.command(Command.setTunnelWindow, id).setWindow(bytes).send(),
      forget: () => this.#tunnels.delete(id),
      count: into => this.#pump.tunnelBytes(id, into),
      request: (headers, events) => this.#request(id, headers, events),
    })
    if (errno === 0) this.#tunnels.set(id, tunnel)
    return tunnel
  }

  /** False for an event that is not of tunnels. */
  take(event: EventRecord): boolean {
    const { kind, slot, error } = event
    switch (kind) {
      case Event.streamAnswered: {
        const reason = this.#textOf(event) // taken also where nobody asks any more: the pump keeps it until then
        this.#streams.get(slot)?.answered(error, reason)
        return true
      }
      case Event.streamEnded:
        this.#ended(slot, error)
        return true
      case Event.tunnelSecured: {
        const chain = certificatesIn(this.#detailsOf(event))
        this.#tunnels.get(slot)?.events.secured(chain, error)
        return true
      }
      case Event.tunnelReady:
        this.#tunnels.get(slot)?.events.ready(event.streams)
        return true
      case Event.tunnelPong:
        this.#tunnels.get(slot)?.events.pong(event.now())
        return true
      case Event.tunnelLeaving: {
        const text = this.#textOf(event)
        this.#tunnels.get(slot)?.events.leaving(error, text)
        return true
      }
      case Event.tunnelEnded: {
        const why = this.#textOf(event)
        const tunnel = this.#tunnels.get(slot)
        this.#tunnels.delete(slot)
        tunnel?.events.ended(why)
        return true
      }
      default:
        return false
    }
  }

  #request(tunnel: number, headers: Readonly<Record<string, string>>, events: CarriedStreamEvents): CarriedStream {
    const token = this.#newId()
    this.#streams.set(token, events)
    this.#pump.requestStream(tunnel, token, fieldsOf(headers))
    this.#rings.wake()
    return {
      token,
      reset: code => {
        if (this.#streams.delete(token)) this.#rings.command(Command.resetStream, token).setError(code).send()
      },
      taken: () => this.#streams.delete(token),
      bytes: () => this.#attach(token),
    }
  }

  #attach(token: number): Duplex {
    this.#streams.delete(token)
    const ends = this.#calls.pair()
    if (typeof ends === 'number') {
      this.#rings.command(Command.resetStream, token).setError(cancel).send()
      const none = new Socket()
      queueMicrotask(() => none.destroy(new Error(`no sockets for a stream: errno ${-ends}`)))
      return none
    }
    const [near, far] = ends
    this.#rings.command(Command.attach, token).setDescriptor(far).setServed(false).send()
    return new Socket({ fd: near, readable: true, writable: true, allowHalfOpen: true })
  }

  #ended(token: number, code: number): void {
    const events = this.#streams.get(token)
    this.#streams.delete(token)
    events?.ended(code)
  }

  #detailsOf({ details }: EventRecord): Buffer {
    return details === 0 ? Buffer.alloc(0) : this.#pump.details(details)
  }

  #textOf(event: EventRecord): string {
    return event.details === 0 ? '' : this.#detailsOf(event).toString('latin1')
  }

  /** Of tunnels and streams; again from 1 after two thousand million. */
  #newId(): number {
    do this.#lastId = (this.#lastId % 0x7fffffff) + 1
    while (this.#streams.has(this.#lastId) || this.#tunnels.has(this.#lastId))
    return this.#lastId
  }
}

interface Calls {
  tell(kind: number): void
  setWindow(bytes: number): void
  forget(): void
  count(into: Float64Array): void
  request(headers: Readonly<Record<string, string>>, events: CarriedStreamEvents): CarriedStream
}

class PumpTunnel implements CarriedTunnel {
  readonly events: CarriedEvents
  readonly #calls: Calls
  readonly #bytes = new Float64Array(2)

  constructor(events: CarriedEvents, calls: Calls) {
    this.events = events
    this.#calls = calls
  }

  start(): void {
    this.#calls.tell(Command.startTunnel)
  }

  close(): void {
    this.#calls.forget()
    this.#calls.tell(Command.closeTunnel)
  }

  ping(): void {
    this.#calls.tell(Command.pingTunnel)
  }

  setWindow(bytes: number): void {
    this.#calls.setWindow(bytes)
  }

  count(): { readonly received: number; readonly sent: number } {
    this.#calls.count(this.#bytes)
    const [received = 0, sent = 0] = this.#bytes
    return { received, sent }
  }

  request(headers: Readonly<Record<string, string>>, events: CarriedStreamEvents): CarriedStream {
    return this.#calls.request(headers, events)
  }
}

/** Names and values, each ended by a zero, which neither may have (RFC 9113, 8.2.1). */
export function fieldsOf(headers: Readonly<Record<string, string>>): string {
  let fields = ''
  for (const name in headers) fields += `${name}\0${headers[name]?.replaceAll('\0', '')}\0`
  return fields
}

/** As `SecureSocket::chain` of native/src/tunnel writes them: for each its length and its bytes. */
export function certificatesIn(all: Buffer): Buffer[] {
  const words = new DataView(all.buffer, all.byteOffset, all.byteLength)
  const found: Buffer[] = []
  for (let at = 0; at + 4 <= all.length; ) {
    const end = at + 4 + words.getUint32(at, isLittleEndian)
    found.push(all.subarray(at + 4, end))
    at = end
  }
  return found
}

const isLittleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1
