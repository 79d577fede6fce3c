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

/** What is needed of a pump. */
export interface TunnelPump {
  readonly index: number
  readonly native: NativePump
  readonly rings: Rings
}

/** Why this Node can have no tunnels in the pump; undefined where it can. The addon knows nghttp2's functions of major version 1. */
export function whyNotInPump(calls: TunnelCalls | undefined): string | undefined {
  if (!calls) return 'the addon has none'
  const { nghttp2 = '' } = process.versions
  return calls.why ?? (nghttp2.startsWith('1.') ? undefined : `this Node has nghttp2 ${nghttp2}, and not 1`)
}

/** RFC 9113, 7. */
const cancel = 8

/** Each tunnel is in one pump, where its connections are carried too. */
export class PumpTunnels implements Carrier {
  readonly #pumps: readonly TunnelPump[]
  readonly #calls: TunnelCalls
  readonly #tunnels = new Map<number, PumpTunnel>()
  readonly #streams = new Map<number, CarriedStreamEvents>()
  #lastId = 0

  constructor(pumps: readonly TunnelPump[], calls: TunnelCalls) {
    this.#pumps = pumps
    this.#calls = calls
  }

  context(certificates: string, key: string, roots: string): CarrierContext {
    return this.#calls.secureContext(certificates, key, roots, false)
  }

  open(descriptor: number, context: CarrierContext, windows: Windows, events: CarriedEvents): CarriedTunnel {
    const id = this.#newId()
    const pump = this.#emptiest()
    const { native, rings } = pump
    const errno = native.openTunnel(id, descriptor, context, windows.stream, windows.session)
    if (errno !== 0) queueMicrotask(() => events.ended(`the engine cannot take it: ${getSystemErrorName(-errno)}`))
    const tunnel: PumpTunnel = new PumpTunnel(pump, events, {
      tell: kind => rings.command(kind, id).setError(cancel).send(),
      setWindow: bytes => rings.command(Command.setTunnelWindow, id).setWindow(bytes).send(),
      forget: () => this.#tunnels.delete(id),
      count: into => native.tunnelBytes(id, into),
      request: (headers, events) => this.#request(pump, id, headers, events),
    })
    if (errno === 0) this.#tunnels.set(id, tunnel)
    return tunnel
  }

  /** The pump with the fewest tunnels. */
  #emptiest(): TunnelPump {
    const counts = this.#pumps.map(() => 0)
    for (const { pump } of this.#tunnels.values()) counts[pump.index] = (counts[pump.index] ?? 0) + 1
    return this.#pumps[counts.indexOf(Math.min(...counts))] as TunnelPump
  }

  /** Of `pump`. False for an event that is not of tunnels. */
  take(event: EventRecord, pump: NativePump): boolean {
    const { kind, slot, error } = event
    switch (kind) {
      case Event.streamAnswered: {
        const reason = textOf(event, pump) // taken also where nobody asks any more: the pump keeps it until then
        this.#streams.get(slot)?.answered(error, reason)
        return true
      }
      case Event.streamEnded:
        this.#ended(slot, error)
        return true
      case Event.tunnelSecured: {
        const chain = certificatesIn(detailsOf(event, pump))
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
        const text = textOf(event, pump)
        this.#tunnels.get(slot)?.events.leaving(error, text)
        return true
      }
      case Event.tunnelEnded: {
        const why = textOf(event, pump)
        const tunnel = this.#tunnels.get(slot)
        this.#tunnels.delete(slot)
        tunnel?.events.ended(why)
        return true
      }
      default:
        return false
    }
  }

  #request(
    { index, native, rings }: TunnelPump,
    tunnel: number,
    headers: Readonly<Record<string, string>>,
    events: CarriedStreamEvents,
  ): CarriedStream {
    const token = this.#newId()
    this.#streams.set(token, events)
    native.requestStream(tunnel, token, fieldsOf(headers))
    rings.wake()
    return {
      token,
      pump: index,
      reset: code => {
        if (this.#streams.delete(token)) rings.command(Command.resetStream, token).setError(code).send()
      },
      taken: () => this.#streams.delete(token),
      bytes: () => this.#attach(rings, token),
    }
  }

  #attach(rings: Rings, token: number): Duplex {
    this.#streams.delete(token)
    const ends = this.#calls.pair()
    if (typeof ends === 'number') {
      rings.command(Command.resetStream, token).setError(cancel).send()
      const none = new Socket()
      queueMicrotask(() => none.destroy(new Error(`no sockets for a stream: errno ${-ends}`)))
      return none
    }
    const [near, far] = ends
    rings.command(Command.attach, token).setDescriptor(far).setServed(false).send()
    return new Socket({ fd: near, readable: true, writable: true, allowHalfOpen: true })
  }

  #ended(token: number, code: number): void {
    const events = this.#streams.get(token)
    this.#streams.delete(token)
    events?.ended(code)
  }

  /** Of tunnels and streams; again from 1 after two thousand million. */
  #newId(): number {
    do this.#lastId = (this.#lastId % 0x7fffffff) + 1
    while (this.#streams.has(this.#lastId) || this.#tunnels.has(this.#lastId))
    return this.#lastId
  }
}

function detailsOf({ details }: EventRecord, pump: NativePump): Buffer {
  return details === 0 ? Buffer.alloc(0) : pump.details(details)
}

function textOf(event: EventRecord, pump: NativePump): string {
  return event.details === 0 ? '' : detailsOf(event, pump).toString('latin1')
}

interface Calls {
  tell(kind: number): void
  setWindow(bytes: number): void
  forget(): void
  count(into: Float64Array): void
  request(headers: Readonly<Record<string, string>>, events: CarriedStreamEvents): CarriedStream
}

class PumpTunnel implements CarriedTunnel {
  readonly pump: TunnelPump
  readonly events: CarriedEvents
  readonly #calls: Calls
  readonly #bytes = new Float64Array(2)

  constructor(pump: TunnelPump, events: CarriedEvents, calls: Calls) {
    this.pump = pump
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
