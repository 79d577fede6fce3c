/** Carries flows by a native pump: reads its events, passes each to its flow, and sends commands. */
import { closeSync } from 'node:fs'
import { Socket } from 'node:net'
import { getSystemErrorName } from 'node:util'
import { familyOf } from '../../model/address.ts'
import type { Client, CloseReason } from '../../model/flow.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Passed, PassedSession } from '../../model/sockets/passing.ts'
import type { FlowContext } from '../flow/flow-context.ts'
import type { ListenerState } from '../flow/listener-state.ts'
import { backlog, listenError } from '../flow/listening.ts'
import type { OnClose, Transport } from '../flow/transport.ts'
import { idleLimitMs } from '../flow/udp-session.ts'
import type { NativeAddon, NativePump } from './addon.ts'
import { bytesOf } from './address.ts'
import type { PumpContext } from './pump-context.ts'
import { PumpSocket } from './pump-socket.ts'
import { Command, Event, type EventRecord, Reason, Rings } from './rings.ts'
import { NativeConnection } from './tcp-connection.ts'
import { NativeListener } from './tcp-listener.ts'
import { PumpTunnels, whyNotInPump } from './tunnels.ts'
import { NativeUdpFrontend } from './udp-frontend.ts'
import { NativeSession } from './udp-session.ts'

/** Events read in a row; then Node gets to do everything else. */
const batch = 2048
/** Of a client that the pump has reset. */
const noSlot = -1

/** What is needed of the addon; without `tunnels` there are none in the pump. */
export type PumpAddon = Pick<NativeAddon, 'Pump'> & Partial<Pick<NativeAddon, 'tunnels'>>

export class NativeTransport implements Transport, PumpContext {
  readonly flows: FlowContext
  readonly rings: Rings
  readonly handed = new Set<{ tick(now: number): void }>()
  readonly #pump: NativePump
  /** Undefined where this Node can have none in the pump. */
  readonly #tunnels: PumpTunnels | undefined
  /** TCP listeners and UDP frontends by id, until the pump has closed their sockets. */
  readonly #listeners = new Map<number, NativeListener>()
  readonly #frontends = new Map<number, NativeUdpFrontend>()
  /** By slot, until the pump's last event about them. The two kinds have slots of their own. */
  readonly #connections: (NativeConnection | undefined)[] = []
  readonly #sessions: (NativeSession | undefined)[] = []
  /** Sessions of another process that the pump has not answered for yet, by token. */
  readonly #adopting = new Map<number, { readonly frontend: NativeUdpFrontend; readonly session: PassedSession }>()
  #lastId = 0
  #openConnections = 0
  #held = false
  #stopped = false

  constructor(flows: FlowContext, { Pump, tunnels }: PumpAddon) {
    const { idle } = flows.options
    this.flows = flows
    this.#pump = new Pump(() => this.#wake(), idle.tcpMs, idle.halfClosedMs)
    this.rings = new Rings(this.#pump)
    if (flows.options.firstByteMs) this.configure()
    this.#tunnels =
      tunnels && whyNotInPump(tunnels) === undefined ? new PumpTunnels(this.#pump, this.rings, tunnels) : undefined
    if (this.#tunnels) flows.tunnels?.carryBy?.(this.#tunnels)
    this.rings.sleep()
  }

  async listenTcp(
    frontend: Frontend,
    service: GlobalService,
    onClose: OnClose,
    passed?: Passed,
  ): Promise<ListenerState> {
    const id = ++this.#lastId
    const errno = passed
      ? this.#pump.adoptTcp(id, passed.descriptor)
      : this.#pump.listenTcp(id, frontend.ip, frontend.port, backlog)
    if (errno !== 0) throw listenError(frontend, systemError('listen', errno))
    const tell = (kind: number) => () => {
      if (!this.#stopped) this.rings.command(kind).setListener(id).send()
    }
    const socket = new PumpSocket(tell(Command.closeListener), tell(Command.passListener))
    const listener = new NativeListener(frontend, service, socket, onClose)
    this.#listeners.set(id, listener)
    this.#hold()
    return listener
  }

  async listenUdp(
    frontend: Frontend,
    service: GlobalService,
    onClose: OnClose,
    passed?: Passed,
  ): Promise<ListenerState> {
    const id = ++this.#lastId
    const errno = passed
      ? this.#pump.adoptUdp(id, passed.descriptor)
      : this.#pump.listenUdp(id, frontend.ip, frontend.port)
    if (errno !== 0) throw listenError(frontend, systemError('bind', errno))
    const tell = (kind: number) => () => {
      if (!this.#stopped) this.rings.command(kind).setFrontend(id).send()
    }
    const socket = new PumpSocket(tell(Command.closeFrontend), tell(Command.pauseFrontend))
    const listener = new NativeUdpFrontend(frontend, service, socket, onClose)
    this.#frontends.set(id, listener)
    if (passed) {
      for (const session of passed.sessions) this.#adopt(id, listener, session)
      this.rings.command(Command.resumeFrontend).setFrontend(id).send()
    }
    this.#hold()
    return listener
  }

  /** The pump carries it from here on; its answer says by which slot it is known. One without a socket begins anew. */
  #adopt(id: number, frontend: NativeUdpFrontend, session: PassedSession): void {
    const { client, descriptor } = session
    if (descriptor === undefined) return
    const address = bytesOf(client)
    if (!address) return closeSync(descriptor)
    const token = ++this.#lastId
    this.#adopting.set(token, { frontend, session })
    const command = this.rings.command(Command.adopt, token).setFrontend(id).setDescriptor(descriptor)
    command.setAddress(familyOf(client.address), address, client.port).send()
  }

  configure(): void {
    if (this.#stopped) return
    const { idle, firstByteMs = 0 } = this.flows.options
    this.rings.command(Command.configure).setIdle(idle.tcpMs, idle.halfClosedMs, firstByteMs).send()
  }

  sweep(now: number): void {
    if (this.#stopped) return
    const { most } = this.flows.descriptors
    const descriptors = Number.isFinite(most) ? most : -1
    for (const connection of this.handed) connection.tick(now)
    const { nearlyFull } = this.flows.sessionShares
    const command = this.rings.command(Command.sweep).setLimit(idleLimitMs(this.flows)).setDescriptors(descriptors)
    command.setReportMoved(nearlyFull).setNow(now).send()
  }

  destroy(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.flows.tunnels?.carryBy?.(undefined)
    this.#pump.stop()
    this.rings.close()
    do {
      while (this.rings.read(batch, this.#takeEvent));
      this.#pump.refill()
    } while (this.rings.read(1, this.#takeEvent))
    for (const listener of [...this.#listeners.values(), ...this.#frontends.values()]) listener.socket.closed()
    this.#listeners.clear()
    this.#frontends.clear()
  }

  /** Called when there are events and we sleep. */
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
      if (this.rings.read(batch, this.#takeEvent)) {
        setImmediate(() => this.#wake())
        return
      }
    } while (!this.#stopped && !this.rings.sleep())
  }

  readonly #takeEvent = (event: EventRecord): void => this.#take(event)

  #take(event: EventRecord): void {
    switch (event.kind) {
      case Event.accepted:
        return this.#accepted(event)
      case Event.turnedAway:
        return this.#turnedAway(event)
      case Event.connected:
        return this.#connections[event.slot]?.connected()
      case Event.failed:
        return this.#connections[event.slot]?.failed(systemError('connect', event.error))
      case Event.gone:
        return this.#gone(event)
      case Event.handedOver:
        return this.#handedOver(event)
      case Event.carried:
        return this.#connections[event.slot]?.carried(event.sent(), event.received())
      case Event.mute:
        return this.#connections[event.slot]?.mute()
      case Event.fault:
        return this.flows.localFault(systemError('accept', event.error))
      case Event.listenerClosed:
        this.#listeners.get(event.listener)?.socket.closed(event.descriptor)
        this.#listeners.delete(event.listener)
        return this.#hold()
      case Event.asked:
        return this.#stopped ? undefined : this.#asked(event)
      case Event.answered:
        return this.#session(event)?.answered()
      case Event.unlinked:
        return this.#session(event)?.linkEnded(linkError(event.error), event.sent(), event.received())
      case Event.moved:
        return this.#session(event)?.moved(event.sent(), event.received())
      case Event.quiet:
        return this.#session(event)?.quiet()
      case Event.dropped:
        return this.#dropped(event)
      case Event.frontendPaused:
        this.rings.command(Command.passFrontend).setFrontend(event.frontend).send()
        return
      case Event.passed:
        return this.#passed(event)
      case Event.adopted:
        return this.#adopted(event)
      case Event.frontendClosed:
        this.#frontends.get(event.frontend)?.socket.closed(event.descriptor)
        this.#frontends.delete(event.frontend)
        return this.#hold()
      default:
        this.#tunnels?.take(event)
    }
  }

  #accepted(event: EventRecord): void {
    if (this.#stopped) return // the pump has reset it already
    const { slot, generation, port } = event
    const listener = this.#listeners.get(event.listener)
    // The pump has accepted it before it was told to stop: at the end of the process it is served like the others.
    if (!listener || (listener.closed && !this.flows.draining)) {
      this.rings.command(Command.refuse, slot, generation).send()
      return
    }
    const client: Client = { address: event.address(), port }
    const connection = new NativeConnection(this, listener, client, slot, generation)
    this.#connections[slot] = connection
    this.#openConnections++
    connection.begin()
  }

  #turnedAway(event: EventRecord): void {
    const listener = this.#listeners.get(event.listener)
    if (!listener) return
    const client: Client = { address: event.address(), port: event.port }
    new NativeConnection(this, listener, client, noSlot, noSlot).turnedAway()
  }

  #gone(event: EventRecord): void {
    const connection = this.#connections[event.slot]
    if (!connection) return
    this.#connections[event.slot] = undefined
    this.#openConnections--
    connection.ended(reasons.get(event.reason), event.sent(), event.received())
    this.#hold()
  }

  #handedOver(event: EventRecord): void {
    const connection = this.#connections[event.slot]
    this.#connections[event.slot] = undefined
    this.#openConnections--
    this.#hold()
    // Reading begins at once; the client's bytes have waited in the kernel.
    const socket = new Socket({ fd: event.error, readable: true, writable: true, allowHalfOpen: true })
    if (connection && !this.#stopped) connection.handedOver(socket)
    else socket.resetAndDestroy()
  }

  /** Undefined for an event about an earlier session of the slot. */
  #session({ slot, generation }: EventRecord): NativeSession | undefined {
    const session = this.#sessions[slot]
    return session?.is(generation) ? session : undefined
  }

  /** Datagrams wait in the pump: of a session without a backend, or of a new client. */
  #asked(event: EventRecord): void {
    const session = this.#session(event) ?? this.#admit(event)
    session?.asked()
  }

  #admit(event: EventRecord): NativeSession | undefined {
    const { slot, generation, port } = event
    const frontend = this.#frontends.get(event.frontend)
    if (!frontend || frontend.closed) return undefined
    const session = new NativeSession(this, frontend, { address: event.address(), port }, slot, generation)
    if (!session.begin()) return undefined
    this.#sessions[slot] = session
    return session
  }

  #passed(event: EventRecord): void {
    const session = this.#session(event)
    this.#sessions[event.slot] = undefined
    const left = session?.passed(event.sent(), event.received())
    if (!session || !left) return closeSync(event.descriptor)
    const frontend = session.listener as NativeUdpFrontend
    frontend.passed({ client: session.client, ...left, descriptor: event.descriptor })
  }

  #adopted({ slot, generation, token }: EventRecord): void {
    const adopting = this.#adopting.get(token)
    this.#adopting.delete(token)
    if (!adopting || slot < 0) return
    const { frontend, session: passed } = adopting
    const backend = frontend.service.backends.find(({ key }) => key === passed.backend)
    const session = new NativeSession(this, frontend, passed.client, slot, generation)
    if (backend && !frontend.closed && session.resume(backend, passed.answered, true)) this.#sessions[slot] = session
    else this.rings.command(Command.forget, slot, generation).send()
  }

  #dropped(event: EventRecord): void {
    const session = this.#session(event)
    if (!session) return
    this.#sessions[event.slot] = undefined
    session.linkEnded(undefined, event.sent(), event.received())
  }

  /** Listeners and connections keep the process alive, as those of node:net do. */
  #hold(): void {
    const held = this.#listeners.size > 0 || this.#frontends.size > 0 || this.#openConnections > 0
    if (held === this.#held || this.#stopped) return
    this.#held = held
    this.#pump.hold(held)
  }
}

/** A connection that ends for another reason was ended by TypeScript, which knows why. */
const reasons: ReadonlyMap<number, CloseReason> = new Map([
  [Reason.done, 'done'],
  [Reason.clientReset, 'client-reset'],
  [Reason.backendReset, 'backend-reset'],
  [Reason.idle, 'idle'],
  [Reason.halfClosed, 'half-closed'],
  [Reason.backendLost, 'backend-lost'],
])

function linkError(errno: number): Error | undefined {
  return errno === 0 ? undefined : systemError('send', errno)
}

/** Like those of node:net: the code is the errno's name. */
function systemError(call: string, errno: number): Error {
  const code = getSystemErrorName(-errno)
  return Object.assign(new Error(`${call} ${code}`), { code, errno: -errno, syscall: call })
}
