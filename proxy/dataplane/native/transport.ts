/** Carries flows by native pumps: binds their sockets, wakes and sleeps with them, and tells them what is of all flows. */
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Passed } from '../../model/sockets/passing.ts'
import type { FlowContext } from '../flow/flow-context.ts'
import type { ListenerState } from '../flow/listener-state.ts'
import { backlog, listenError } from '../flow/listening.ts'
import type { OnClose, Transport } from '../flow/transport.ts'
import type { UdpFrontend } from '../flow/udp-frontend.ts'
import { idleLimitMs } from '../flow/udp-session.ts'
import type { NativeAddon } from './addon.ts'
import { Pump, type PumpOwner, systemError } from './pump.ts'
import { PumpSocket } from './pump-socket.ts'
import { Command } from './rings.ts'
import type { NativeConnection } from './tcp-connection.ts'
import { NativeListener } from './tcp-listener.ts'
import { PumpTunnels, whyNotInPump } from './tunnels.ts'
import { NativeUdpFrontend } from './udp-frontend.ts'

/** Events read in a row, of all pumps together; then Node gets to do everything else. */
const batch = 2048

/** What is needed of the addon; without `tunnels` there are none in the pumps. */
export type PumpAddon = Pick<NativeAddon, 'Pump'> & Partial<Pick<NativeAddon, 'tunnels'>>

export class NativeTransport implements Transport, PumpOwner {
  readonly flows: FlowContext
  readonly handed = new Set<{ tick(now: number): void }>()
  readonly moving = new Map<number, NativeConnection>()
  readonly listeners = new Map<number, NativeListener>()
  readonly tunnels: PumpTunnels | undefined
  stopped = false
  /** Accepts for all of them. */
  readonly #first: Pump
  readonly #pumps: readonly Pump[]
  /** Events read in a row of one pump. */
  readonly #most: number
  #lastId = 0
  #held = false

  /** With one pump or more, 64 at most. */
  constructor(flows: FlowContext, { Pump: NativePump, tunnels }: PumpAddon, threads: number) {
    const { idle } = flows.options
    this.flows = flows
    const wake = () => this.#wake()
    this.#first = new Pump(this, 0, new NativePump(wake, idle.tcpMs, idle.halfClosedMs))
    const pumps = [this.#first]
    for (let index = 1; index < threads; index++)
      pumps.push(new Pump(this, index, new NativePump(wake, idle.tcpMs, idle.halfClosedMs, this.#first.native)))
    this.#pumps = pumps
    this.#most = Math.ceil(batch / threads)
    if (flows.options.firstByteMs) this.configure()
    this.tunnels = tunnels && whyNotInPump(tunnels) === undefined ? new PumpTunnels(pumps, tunnels) : undefined
    if (this.tunnels) flows.tunnels?.carryBy?.(this.tunnels)
    for (const { rings } of pumps) rings.sleep()
  }

  async listenTcp(
    frontend: Frontend,
    service: GlobalService,
    onClose: OnClose,
    passed?: Passed,
  ): Promise<ListenerState> {
    const id = ++this.#lastId
    const { native, rings } = this.#first
    const errno = passed
      ? native.adoptTcp(id, passed.descriptor)
      : native.listenTcp(id, frontend.ip, frontend.port, backlog)
    if (errno !== 0) throw listenError(frontend, systemError('listen', errno))
    const tell = (kind: number) => () => {
      if (!this.stopped) rings.command(kind).setListener(id).send()
    }
    const socket = new PumpSocket(tell(Command.closeListener), tell(Command.passListener), this.#pumps.length)
    const listener = new NativeListener(frontend, service, socket, onClose)
    this.listeners.set(id, listener)
    this.counted()
    return listener
  }

  async listenUdp(frontend: Frontend, service: GlobalService, onClose: OnClose, passed?: Passed): Promise<UdpFrontend> {
    const id = ++this.#lastId
    const pump = this.#pumps.reduce((best, pump) => (pump.datagrams < best.datagrams ? pump : best))
    const { native, rings } = pump
    const errno = passed ? native.adoptUdp(id, passed.descriptor) : native.listenUdp(id, frontend.ip, frontend.port)
    if (errno !== 0) throw listenError(frontend, systemError('bind', errno))
    const tell = (kind: number) => () => {
      if (!this.stopped) rings.command(kind).setFrontend(id).send()
    }
    const { closeFrontend, passFrontend, pauseFrontend } = Command
    const socket = new PumpSocket(tell(closeFrontend), tell(passFrontend), 1, tell(pauseFrontend))
    const listener = new NativeUdpFrontend(frontend, service, socket, onClose)
    pump.frontends.set(id, listener)
    if (passed) {
      for (const session of passed.sessions) pump.adopt(id, listener, session)
      rings.command(Command.resumeFrontend).setFrontend(id).send()
    }
    this.counted()
    return listener
  }

  configure(): void {
    if (this.stopped) return
    const { idle, firstByteMs = 0 } = this.flows.options
    for (const { rings } of this.#pumps)
      rings.command(Command.configure).setIdle(idle.tcpMs, idle.halfClosedMs, firstByteMs).send()
  }

  sweep(now: number): void {
    if (this.stopped) return
    const { most } = this.flows.descriptors
    const descriptors = Number.isFinite(most) ? most : -1
    for (const connection of this.handed) connection.tick(now)
    const { nearlyFull } = this.flows.sessions
    for (const { rings } of this.#pumps) {
      const command = rings.command(Command.sweep).setLimit(idleLimitMs(this.flows)).setDescriptors(descriptors)
      command.setReportMoved(nearlyFull).setNow(now).send()
    }
  }

  destroy(): void {
    if (this.stopped) return
    this.stopped = true
    this.flows.tunnels?.carryBy?.(undefined)
    for (const { native } of this.#pumps) native.stop()
    for (const { rings } of this.#pumps) rings.close()
    for (const pump of this.#pumps) {
      do {
        while (pump.read(batch));
        pump.native.refill()
      } while (pump.read(1))
    }
    const frontends = this.#pumps.flatMap(({ frontends }) => [...frontends.values()])
    for (const { socket } of [...this.listeners.values(), ...frontends]) socket.abandoned()
    this.listeners.clear()
    for (const { frontends } of this.#pumps) frontends.clear()
  }

  /** Listeners and connections keep the process alive, as those of node:net do. */
  counted(): void {
    const held = this.listeners.size > 0 || this.#pumps.some(({ busy }) => busy)
    if (held === this.#held || this.stopped) return
    this.#held = held
    this.#first.native.hold(held)
  }

  /** Called when there are events and we sleep. */
  #wake(): void {
    if (this.stopped) return
    try {
      this.#readAll()
    } catch (error) {
      // The pumps believe us awake and will not call again: read on later, whatever becomes of the error.
      setImmediate(() => this.#wake())
      throw error
    }
  }

  #readAll(): void {
    // One has called; the others need not.
    if (this.#pumps.length > 1) for (const { rings } of this.#pumps) rings.rouse()
    do {
      let isMore = false
      for (const pump of this.#pumps) if (pump.read(this.#most)) isMore = true
      if (isMore) {
        setImmediate(() => this.#wake())
        return
      }
    } while (!this.stopped && !this.#sleep())
  }

  /** False when there are events already. */
  #sleep(): boolean {
    for (const { rings } of this.#pumps) if (!rings.sleep()) return false
    return true
  }
}
