import { getSystemErrorName } from 'node:util'
import type { Client, CloseReason } from '../../model/flow.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Listener } from '../engine.ts'
import { Deadlines } from '../flow/deadlines.ts'
import type { FlowContext, TcpListening, Transport } from '../flow/flow-context.ts'
import { quietLimitMs } from '../flow/udp-attempt.ts'
import { backlog, listenError } from '../streams/bind.ts'
import type { NativeAddon, NativePump } from './addon.ts'
import { Command, Event, type EventRecord, Rings } from './rings.ts'
import { NativeConnection, type PumpContext } from './tcp-connection.ts'
import { NativeSessions, NativeUdpFrontend } from './udp-frontend.ts'

/** Events between two looks at everything else that Node has to do. */
const batch = 2048
/** `Reason` of native/src/ring.h; the others are TypeScript's own doing. */
const reasons: readonly (CloseReason | undefined)[] = ['done', 'client-reset', 'backend-reset', 'idle', 'half-closed']

/** How flows move by a native pump: events in, commands out. */
export class NativeTransport implements Transport, PumpContext {
  readonly context: FlowContext
  readonly rings: Rings
  readonly dials: Deadlines
  readonly #pump: NativePump
  readonly #listeners = new Map<number, NativeListener>()
  readonly #sessions = new NativeSessions(this)
  /** By slot, until the pump has said its last word on it. */
  readonly #connections: (NativeConnection | undefined)[] = []
  #lastListener = 0
  #carried = 0
  #held = false
  #stopped = false

  constructor(context: FlowContext, { Pump }: Pick<NativeAddon, 'Pump'>) {
    const { dial, idle } = context.options
    this.context = context
    this.dials = new Deadlines(context.clock, dial.timeoutMs)
    this.#pump = new Pump(() => this.#drain(), idle.tcpMs, idle.halfClosedMs)
    this.rings = new Rings(this.#pump)
    this.rings.sleep()
  }

  async listenTcp(
    frontend: Frontend,
    service: GlobalService,
    onClose: (listener: TcpListening) => void,
  ): Promise<TcpListening> {
    const id = ++this.#lastListener
    const error = this.#pump.listenTcp(id, frontend.ip, frontend.port, backlog)
    if (error !== 0) throw listenError(frontend, systemError('listen', error))
    const listener = new NativeListener(frontend, service, closing => {
      if (!this.#stopped) this.rings.command(Command.closeListener).setListener(id).send()
      onClose(closing)
    })
    this.#listeners.set(id, listener)
    this.#hold()
    return listener
  }

  async listenUdp(
    frontend: Frontend,
    service: GlobalService,
    onClose: (listener: Listener) => void,
  ): Promise<Listener> {
    const id = ++this.#lastListener
    const error = this.#pump.listenUdp(id, frontend.ip, frontend.port)
    if (error !== 0) throw listenError(frontend, systemError('bind', error))
    const listener = new NativeUdpFrontend(frontend, service, closing => {
      if (!this.#stopped) this.rings.command(Command.closeFrontend).setFrontend(id).send()
      onClose(closing)
    })
    this.#sessions.frontends.set(id, listener)
    this.#hold()
    return listener
  }

  sweep(now: number): void {
    if (this.#stopped) return
    this.rings.command(Command.sweep).setLimit(quietLimitMs(this.context)).setNow(now).send()
  }

  destroy(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#pump.stop()
    this.rings.close()
    do {
      while (this.rings.read(batch, event => this.#take(event)));
      this.#pump.refill()
    } while (this.rings.read(1, event => this.#take(event)))
    for (const listener of [...this.#listeners.values(), ...this.#sessions.frontends.values()]) listener.freed()
    this.#listeners.clear()
    this.#sessions.frontends.clear()
    this.dials.close()
  }

  /** Called when the pump has something to say and nobody was listening. */
  #drain(): void {
    if (this.#stopped) return
    try {
      this.#readAll()
    } catch (error) {
      // The pump believes us awake: whoever survives this must not be deaf from now on.
      setImmediate(() => this.#drain())
      throw error
    }
  }

  #readAll(): void {
    do {
      if (this.rings.read(batch, this.#takeEvent)) {
        setImmediate(() => this.#drain())
        return
      }
    } while (!this.#stopped && !this.rings.sleep())
  }

  readonly #takeEvent = (event: EventRecord): void => this.#take(event)

  #take(event: EventRecord): void {
    switch (event.kind) {
      case Event.accepted:
        return this.#accepted(event)
      case Event.connected:
        return this.#connections[event.slot]?.connected()
      case Event.failed:
        return this.#connections[event.slot]?.failed(systemError('connect', event.error))
      case Event.gone:
        return this.#gone(event)
      case Event.fault:
        return this.context.localFault(systemError('accept', event.error))
      case Event.listenerClosed:
        this.#listeners.get(event.listener)?.freed()
        this.#listeners.delete(event.listener)
        return this.#hold()
      case Event.asked:
        return this.#stopped ? undefined : this.#sessions.asked(event)
      case Event.answered:
        return this.#sessions.of(event)?.answered()
      case Event.unlinked:
        return this.#sessions.of(event)?.unlinked(linkError(event.error), event.sent(), event.received())
      case Event.quiet:
        return this.#sessions.of(event)?.quiet()
      case Event.dropped:
        return this.#sessions.dropped(event)
      case Event.frontendClosed:
        this.#sessions.frontends.get(event.frontend)?.freed()
        this.#sessions.frontends.delete(event.frontend)
        return this.#hold()
    }
  }

  #accepted(event: EventRecord): void {
    if (this.#stopped) return // the pump has reset it already
    const { slot, generation, port } = event
    const listener = this.#listeners.get(event.listener)
    if (!listener || listener.closed) {
      this.rings.command(Command.refuse, slot, generation).send()
      return
    }
    const client: Client = { address: event.address(), port }
    const connection = new NativeConnection(this, listener, client, slot, generation)
    this.#connections[slot] = connection
    this.#carried++
    connection.begin()
  }

  #gone(event: EventRecord): void {
    const connection = this.#connections[event.slot]
    if (!connection) return
    this.#connections[event.slot] = undefined
    this.#carried--
    connection.gone(reasons[event.reason], event.sent(), event.received())
    this.#hold()
  }

  /** Listeners and connections keep the process alive, as those of node:net do. */
  #hold(): void {
    const held = this.#listeners.size > 0 || this.#sessions.frontends.size > 0 || this.#carried > 0
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

function linkError(errno: number): Error | undefined {
  return errno === 0 ? undefined : systemError('send', errno)
}

/** Like those of node:net: the code is the errno's name. */
function systemError(call: string, errno: number): Error {
  const code = getSystemErrorName(-errno)
  return Object.assign(new Error(`${call} ${code}`), { code, errno: -errno, syscall: call })
}
