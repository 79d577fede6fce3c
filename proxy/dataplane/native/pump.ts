/** TypeScript's side of one pump: its flows by slot. Reads its events and passes each to its flow. */
import { closeSync } from 'node:fs'
import { Socket } from 'node:net'
import { getSystemErrorName } from 'node:util'
import { familyOf } from '../../model/address.ts'
import type { Client, CloseReason } from '../../model/flow.ts'
import type { PassedSession } from '../../model/sockets/passing.ts'
import type { FlowContext } from '../flow/flow-context.ts'
import type { NativePump } from './addon.ts'
import { bytesOf } from './address.ts'
import type { PumpContext } from './pump-context.ts'
import { Command, Event, type EventRecord, Reason, Rings } from './rings.ts'
import { NativeConnection } from './tcp-connection.ts'
import type { NativeListener } from './tcp-listener.ts'
import type { PumpTunnels } from './tunnels.ts'
import type { NativeUdpFrontend } from './udp-frontend.ts'
import { NativeSession } from './udp-session.ts'

/** What the pumps of one engine share. */
export interface PumpOwner {
  readonly flows: FlowContext
  readonly handed: PumpContext['handed']
  /** Connections on their way to the pump that has their stream, by its token. */
  readonly moving: Map<number, NativeConnection>
  /** TCP listeners by id, until every pump has had their last client. */
  readonly listeners: Map<number, NativeListener>
  /** Undefined where this Node can have none in a pump. */
  readonly tunnels: PumpTunnels | undefined
  /** No event is about a flow any more. */
  readonly stopped: boolean
  /** Flows or listeners have come or gone. */
  counted(): void
}

/** Of a client that the pump has reset. */
const noSlot = -1

export class Pump implements PumpContext {
  readonly index: number
  readonly flows: FlowContext
  readonly handed: PumpContext['handed']
  readonly native: NativePump
  readonly rings: Rings
  readonly #owner: PumpOwner
  /** UDP frontends by id, until their sockets are closed. */
  readonly frontends = new Map<number, NativeUdpFrontend>()
  /** By slot, until the pump's last event about them. The two kinds have slots of their own. */
  readonly #connections: (NativeConnection | undefined)[] = []
  readonly #sessions: (NativeSession | undefined)[] = []
  /** Sessions of another process that the pump has not answered for yet, by token. */
  readonly #adopting = new Map<number, { readonly frontend: NativeUdpFrontend; readonly session: PassedSession }>()
  #lastToken = 0
  #openConnections = 0
  #openSessions = 0

  constructor(owner: PumpOwner, index: number, native: NativePump) {
    this.#owner = owner
    this.index = index
    this.flows = owner.flows
    this.handed = owner.handed
    this.native = native
    this.rings = new Rings(native)
  }

  /** Whether it has connections or UDP sockets. */
  get busy(): boolean {
    return this.#openConnections > 0 || this.frontends.size > 0
  }

  /** UDP frontends and sessions. */
  get datagrams(): number {
    return this.frontends.size + this.#openSessions
  }

  /** Passes on at most `most` events. True when there may be more. */
  read(most: number): boolean {
    return this.rings.read(most, this.#takeEvent)
  }

  /** The pump carries it from here on; its answer says by which slot it is known. One without a socket begins anew. */
  adopt(id: number, frontend: NativeUdpFrontend, session: PassedSession): void {
    const { client, descriptor } = session
    if (descriptor === undefined) return
    const address = bytesOf(client)
    if (!address) return closeSync(descriptor)
    const token = ++this.#lastToken
    this.#adopting.set(token, { frontend, session })
    const command = this.rings.command(Command.adopt, token).setFrontend(id).setDescriptor(descriptor)
    command.setAddress(familyOf(client.address), address, client.port).send()
  }

  sent(token: number, connection: NativeConnection): void {
    this.#owner.moving.set(token, connection)
  }

  notSent(token: number): void {
    this.#owner.moving.delete(token)
  }

  readonly #takeEvent = (event: EventRecord): void => this.#take(event)

  #take(event: EventRecord): void {
    switch (event.kind) {
      case Event.accepted:
        return this.#accepted(event)
      case Event.arrived:
        return this.#arrived(event)
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
        if (this.#owner.listeners.get(event.listener)?.socket.closed(event.descriptor))
          this.#owner.listeners.delete(event.listener)
        return this.#owner.counted()
      case Event.asked:
        return this.#owner.stopped ? undefined : this.#asked(event)
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
        return this.frontends.get(event.frontend)?.socket.paused()
      case Event.passed:
        return this.#passed(event)
      case Event.adopted:
        return this.#adopted(event)
      case Event.frontendClosed:
        this.frontends.get(event.frontend)?.socket.closed(event.descriptor)
        this.frontends.delete(event.frontend)
        return this.#owner.counted()
      default:
        this.#owner.tunnels?.take(event, this.native)
    }
  }

  #accepted(event: EventRecord): void {
    if (this.#owner.stopped) return // the pump has reset it already
    const { slot, generation, port } = event
    const listener = this.#owner.listeners.get(event.listener)
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

  /** A connection of another pump, which has no further event there. */
  #arrived({ slot, generation, token }: EventRecord): void {
    const connection = this.#owner.moving.get(token)
    this.#owner.moving.delete(token)
    if (!connection) return
    this.#connections[slot] = connection
    this.#openConnections++
    const from = connection.pump as Pump
    from.#left(connection)
    connection.arrived(this, slot, generation)
  }

  #left(connection: NativeConnection): void {
    // Another may have the slot by now.
    if (this.#connections[connection.slot] === connection) this.#connections[connection.slot] = undefined
    this.#openConnections--
  }

  #turnedAway(event: EventRecord): void {
    const listener = this.#owner.listeners.get(event.listener)
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
    this.#owner.counted()
  }

  #handedOver(event: EventRecord): void {
    const connection = this.#connections[event.slot]
    this.#connections[event.slot] = undefined
    this.#openConnections--
    this.#owner.counted()
    // Reading begins at once; the client's bytes have waited in the kernel.
    const socket = new Socket({ fd: event.error, readable: true, writable: true, allowHalfOpen: true })
    if (connection && !this.#owner.stopped) connection.handedOver(socket)
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
    const frontend = this.frontends.get(event.frontend)
    if (!frontend || frontend.closed) return undefined
    const session = new NativeSession(this, frontend, { address: event.address(), port }, slot, generation)
    if (!session.begin()) return undefined
    this.#keep(slot, session)
    return session
  }

  #keep(slot: number, session: NativeSession): void {
    if (!this.#sessions[slot]) this.#openSessions++
    this.#sessions[slot] = session
  }

  #forget(slot: number): void {
    if (this.#sessions[slot]) this.#openSessions--
    this.#sessions[slot] = undefined
  }

  #passed(event: EventRecord): void {
    const session = this.#session(event)
    this.#forget(event.slot)
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
    if (backend && !frontend.closed && session.resume(backend, passed.answered, true)) this.#keep(slot, session)
    else this.rings.command(Command.forget, slot, generation).send()
  }

  #dropped(event: EventRecord): void {
    const session = this.#session(event)
    if (!session) return
    this.#forget(event.slot)
    session.linkEnded(undefined, event.sent(), event.received())
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
export function systemError(call: string, errno: number): Error {
  const code = getSystemErrorName(-errno)
  return Object.assign(new Error(`${call} ${code}`), { code, errno: -errno, syscall: call })
}
