import { getSystemErrorName } from 'node:util'
import type { Client, CloseReason } from '../model/flow.ts'
import type { Frontend, GlobalService } from '../model/service.ts'
import { backlog, listenError } from './bind.ts'
import type { Carrier, TcpListening, TcpSide } from './carrier.ts'
import type { NativeAddon, NativePump } from './native-addon.ts'
import { addressText } from './native-address.ts'
import { NativeConnection, type Pumping } from './native-connection.ts'
import { Command, Event, type Incoming, Rings } from './native-rings.ts'

/** Events between two looks at everything else that Node has to do. */
const batch = 2048
/** `Reason` of native/src/ring.h; the others are TypeScript's own doing. */
const reasons: readonly (CloseReason | undefined)[] = ['done', 'client-reset', 'backend-reset', 'idle', 'half-closed']

/** The TCP side of an engine on a native pump: events in, commands out. */
export class NativeTcp implements TcpSide, Pumping {
  readonly carrier: Carrier
  readonly rings: Rings
  readonly #pump: NativePump
  readonly #listeners = new Map<number, NativeListener>()
  /** By slot, until the pump has said its last word on it. */
  readonly #connections: (NativeConnection | undefined)[] = []
  #lastListener = 0
  #carried = 0
  #held = false
  #stopped = false

  constructor(carrier: Carrier, { Pump }: NativeAddon) {
    const { tcpMs, halfClosedMs } = carrier.options.idle
    this.carrier = carrier
    this.#pump = new Pump(() => this.#drain(), tcpMs, halfClosedMs)
    this.rings = new Rings(this.#pump)
    this.rings.sleep()
  }

  async listen(
    frontend: Frontend,
    service: GlobalService,
    onClose: (listener: TcpListening) => void,
  ): Promise<TcpListening> {
    const id = ++this.#lastListener
    const error = this.#pump.listen(id, frontend.ip, frontend.port, backlog)
    if (error !== 0) throw listenError(frontend, systemError('listen', error))
    const listener = new NativeListener(frontend, service, closing => {
      if (!this.#stopped) this.rings.command(Command.unlisten, id, 0).send()
      onClose(closing)
    })
    this.#listeners.set(id, listener)
    this.#hold()
    return listener
  }

  sweep(now: number): void {
    if (!this.#stopped) this.rings.command(Command.sweep, 0, 0).when(now).send()
  }

  destroy(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#pump.stop()
    do {
      while (this.rings.read(batch, event => this.#take(event)));
      this.#pump.refill()
    } while (this.rings.read(1, event => this.#take(event)))
    for (const listener of this.#listeners.values()) listener.freed()
    this.#listeners.clear()
  }

  /** Called when the pump has something to say and nobody was listening. */
  #drain(): void {
    if (this.#stopped) return
    do {
      if (this.rings.read(batch, this.#takeEvent)) {
        setImmediate(() => this.#drain())
        return
      }
    } while (!this.#stopped && !this.rings.sleep())
  }

  readonly #takeEvent = (event: Incoming): void => this.#take(event)

  #take(event: Incoming): void {
    switch (event.kind) {
      case Event.accepted:
        return this.#accepted(event)
      case Event.connected:
        return this.#connections[event.slot]?.connected()
      case Event.failed:
        return this.#connections[event.slot]?.failed(systemError('connect', event.number))
      case Event.gone:
        return this.#gone(event)
      case Event.fault:
        return this.carrier.localFault(systemError('accept', event.number))
      case Event.unlistened:
        this.#listeners.get(event.slot)?.freed()
        this.#listeners.delete(event.slot)
        this.#hold()
    }
  }

  #accepted(event: Incoming): void {
    if (this.#stopped) return // the pump has reset it already
    const { slot, generation, number, port } = event
    const listener = this.#listeners.get(number)
    if (!listener || listener.closed) {
      this.rings.command(Command.refuse, slot, generation).send()
      return
    }
    const client: Client = { address: addressText(event.address()), port }
    const connection = new NativeConnection(this, listener, client, slot, generation)
    this.#connections[slot] = connection
    this.#carried++
    connection.begin()
  }

  #gone(event: Incoming): void {
    const connection = this.#connections[event.slot]
    if (!connection) return
    this.#connections[event.slot] = undefined
    this.#carried--
    connection.gone(reasons[event.number], event.sent(), event.received())
    this.#hold()
  }

  /** Listeners and connections keep the process alive, as those of node:net do. */
  #hold(): void {
    const held = this.#listeners.size > 0 || this.#carried > 0
    if (held === this.#held || this.#stopped) return
    this.#held = held
    this.#pump.hold(held)
  }
}

class NativeListener implements TcpListening {
  frontend: Frontend
  service: GlobalService
  closed = false
  /** Called when the pump has closed the socket. */
  freed: () => void = () => {}
  readonly #free: Promise<void>
  readonly #onClose: (listener: NativeListener) => void

  constructor(frontend: Frontend, service: GlobalService, onClose: (listener: NativeListener) => void) {
    this.frontend = frontend
    this.service = service
    this.#onClose = onClose
    this.#free = new Promise(resolve => {
      this.freed = resolve
    })
  }

  update(frontend: Frontend, service: GlobalService): void {
    this.frontend = frontend
    this.service = service
  }

  close(): Promise<void> {
    if (!this.closed) {
      this.closed = true
      this.#onClose(this)
    }
    return this.#free
  }
}

/** Like those of node:net: the code is the errno's name. */
function systemError(call: string, errno: number): Error {
  const code = getSystemErrorName(-errno)
  return Object.assign(new Error(`${call} ${code}`), { code, errno: -errno, syscall: call })
}
