/** The sessions of a gateway in a pump of its own: TypeScript's side of their commands and events. */
import { getSystemErrorName } from 'node:util'
import type {
  CarrierContext,
  ServedEvents,
  ServedSession,
  ServerCarrier,
  Windows,
} from '../../../model/tunnel/carrier.ts'
import type { NativeAddon, NativePump } from '../addon.ts'
import { Command, Event, type EventRecord, Rings } from '../rings.ts'
import { certificatesIn, whyNotInPump } from '../tunnels.ts'
import { PumpRequest, type RequestCalls } from './request.ts'

/** Events read in a row; then Node gets to do everything else. */
const batch = 2048

type ServingAddon = Pick<NativeAddon, 'Pump' | 'tunnels' | 'passing'>

/** Undefined where this Node can have no tunnels in a pump. */
export function createServerCarrier(addon: ServingAddon): ServerCarrier | undefined {
  return whyNotInPump(addon.tunnels) === undefined ? new PumpSessions(addon) : undefined
}

class PumpSessions implements ServerCarrier {
  readonly #addon: ServingAddon
  readonly #pump: NativePump
  readonly #rings: Rings
  readonly #sessions = new Map<number, ServedEvents>()
  readonly #requests = new Map<number, PumpRequest>()
  readonly #calls: RequestCalls
  #lastId = 0
  #held = false
  #stopped = false

  constructor(addon: ServingAddon) {
    this.#addon = addon
    this.#pump = new addon.Pump(() => this.#wake(), 0, 0)
    this.#rings = new Rings(this.#pump)
    this.#calls = {
      pump: this.#pump,
      rings: this.#rings,
      pair: () => addon.tunnels.pair(),
      duplicate: descriptor => addon.passing.duplicate(descriptor),
      forget: token => this.#requests.delete(token),
      isStopped: () => this.#stopped,
    }
    this.#rings.sleep()
  }

  context(certificates: string, key: string, roots: string): CarrierContext {
    return this.#addon.tunnels.secureContext(certificates, key, roots, true)
  }

  accept(descriptor: number, context: CarrierContext, windows: Windows, events: ServedEvents): ServedSession {
    const id = this.#newId()
    const errno = this.#stopped ? 0 : this.#pump.openTunnel(id, descriptor, context, windows.stream, windows.session)
    if (errno !== 0) queueMicrotask(() => events.ended(`the pump cannot take it: ${getSystemErrorName(-errno)}`))
    else this.#sessions.set(id, events)
    this.#hold()
    const command = (kind: number) => this.#rings.command(kind, id)
    const bytes = new Float64Array(2)
    return {
      start: streams => command(Command.startTunnel).setStreams(streams).send(),
      leave: (code, text) => {
        this.#pump.leaveTunnel(id, code, text)
        this.#rings.wake()
      },
      close: code => {
        this.#sessions.delete(id)
        this.#hold()
        command(Command.closeTunnel).setError(code).send()
      },
      received: () => {
        this.#pump.tunnelBytes(id, bytes)
        return bytes[0] ?? 0
      },
      ping: () => command(Command.pingTunnel).send(),
      setWindow: bytes => command(Command.setTunnelWindow).setWindow(bytes).send(),
    }
  }

  look(now: number): void {
    if (this.#stopped || this.#sessions.size === 0) return
    this.#rings.command(Command.sweep).setLimit(0).setDescriptors(-1).setReportMoved(false).setNow(now).send()
  }

  close(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#pump.stop()
    this.#rings.close()
    do {
      while (this.#rings.read(batch, this.#take));
      this.#pump.refill()
    } while (this.#rings.read(1, this.#take))
    this.#sessions.clear()
    this.#requests.clear()
  }

  #wake(): void {
    if (this.#stopped) return
    try {
      this.#readAll()
    } catch (error) {
      // The pump believes us awake and will not call again: read on later, whatever becomes of the error.
      setImmediate(() => this.#wake())
      throw error
    }
  }

  #readAll(): void {
    do {
      if (this.#rings.read(batch, this.#take)) {
        setImmediate(() => this.#wake())
        return
      }
    } while (!this.#stopped && !this.#rings.sleep())
  }

  readonly #take = (event: EventRecord): void => {
    const { kind, slot } = event
    switch (kind) {
      case Event.streamAsked:
        return this.#asked(event)
      case Event.streamCarried:
        return this.#requests.get(slot)?.carried(event.sent(), event.received(), event.halfClosed)
      case Event.streamGone:
        return this.#requests.get(slot)?.gone(event.reason, event.sent(), event.received())
      case Event.streamEnded:
        return this.#requests.get(slot)?.lost()
      case Event.tunnelSecured: {
        const chain = certificatesIn(this.#detailsOf(event))
        return this.#sessions.get(slot)?.secured(chain, event.error)
      }
      case Event.tunnelPong:
        return this.#sessions.get(slot)?.pong()
      case Event.tunnelLeaving:
        this.#detailsOf(event) // the pump keeps them until then
        return
      case Event.tunnelEnded:
        return this.#ended(event)
    }
  }

  #asked(event: EventRecord): void {
    const { slot, tunnel } = event
    const headers = headersIn(this.#detailsOf(event).toString('latin1'))
    const session = this.#sessions.get(tunnel)
    const request = new PumpRequest(this.#calls, slot, headers)
    // One that nobody wants ends with its session.
    if (!session || this.#stopped) return
    this.#requests.set(slot, request)
    session.asked(request)
  }

  #ended(event: EventRecord): void {
    const why = this.#detailsOf(event).toString('latin1')
    const session = this.#sessions.get(event.slot)
    this.#sessions.delete(event.slot)
    this.#hold()
    session?.ended(why)
  }

  #detailsOf({ details }: EventRecord): Buffer {
    return details === 0 ? Buffer.alloc(0) : this.#pump.details(details)
  }

  /** Sessions keep the process alive, as those of node:http2 do. */
  #hold(): void {
    const held = this.#sessions.size > 0
    if (held === this.#held || this.#stopped) return
    this.#held = held
    this.#pump.hold(held)
  }

  /** Again from 1 after two thousand million. */
  #newId(): number {
    do this.#lastId = (this.#lastId % 0x7fffffff) + 1
    while (this.#sessions.has(this.#lastId))
    return this.#lastId
  }
}

/** Names and values, each ended by a zero; of one that comes twice the first. */
function headersIn(fields: string): Record<string, string> {
  const headers: Record<string, string> = Object.create(null)
  const texts = fields.split('\0')
  for (let at = 0; at + 1 < texts.length; at += 2) headers[texts[at] as string] ??= texts[at + 1] as string
  return headers
}
