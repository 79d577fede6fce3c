/**
 * What the engines have in common: their listeners and flows, the look for idle flows, and how flows end with a backend, a
 * frontend or the process. How bytes move is each engine's own, as a {@link Transport}.
 */
import type { Backend } from '../../model/backend.ts'
import { MeshError } from '../../model/error.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Passed } from '../../model/sockets/passing.ts'
import type { EngineStats } from '../../model/stats/engine.ts'
import type { Cut, Engine, EngineOptions, EngineParts, Listener, Loop } from '../engine.ts'
import { Deadlines } from './deadlines.ts'
import { drain } from './drain.ts'
import type { FlowContext, OpenConnection, OpenFlow, OpenSession } from './flow-context.ts'
import { Descriptors, perConnection } from './limits/descriptors.ts'
import { LoopWatch } from './limits/loop-watch.ts'
import { Shares } from './limits/shares.ts'
import type { ListenerState } from './listener-state.ts'
import { listenError } from './listening.ts'
import { codeOf, noDescriptor } from './outcome.ts'
import type { Transport } from './transport.ts'
import { UdpAddresses } from './udp-addresses.ts'
import type { UdpFrontend } from './udp-frontend.ts'

/** Faults of this machine come in great numbers: at most one log line of each kind in this time. */
const faultQuietMs = 10_000

export class EngineCore implements Engine, FlowContext {
  readonly name: string
  readonly chooser: EngineParts['chooser']
  readonly onHeard: (backend: Backend) => void
  readonly onMute: NonNullable<EngineParts['onMute']>
  readonly tunnels: EngineParts['tunnels']
  options: EngineOptions
  readonly calls: EngineParts['calls']
  readonly clock: EngineParts['clock']
  readonly log: EngineParts['log']
  readonly connections = new Shares<OpenConnection>(
    () => this.options.limits.connections,
    () => this.options.limits.connections * (this.options.limits.perFrontend ?? 1),
  )
  readonly sessions = new Shares<OpenSession>(
    () => this.options.limits.udpSessions,
    () => this.options.limits.udpSessions * (this.options.limits.perFrontend ?? 1),
  )
  readonly unanswered = new Set<OpenSession>()
  readonly udpAddresses = new UdpAddresses()
  readonly descriptors: Descriptors
  readonly loops: LoopWatch
  readonly dials: Deadlines
  draining = false
  readonly #transport: Transport
  readonly #tcp = new Set<ListenerState>()
  readonly #udp = new Set<UdpFrontend>()
  readonly #forgetAddress = new Map<ListenerState, () => void>()
  readonly #timers = new Set<() => void>()
  #stopSweeping: () => void
  readonly #faults = new Map<string, { loggedAt: number; times: number }>()
  #lastId = 0
  #closing: Promise<Cut> | undefined
  #cut = { connections: 0, udpSessions: 0 }
  #empty: (() => void) | undefined

  constructor(
    name: string,
    { chooser, onHeard = () => {}, onMute = () => {}, tunnels, options, reserve, calls, clock, log }: EngineParts,
    createTransport: (context: FlowContext) => Transport,
  ) {
    this.name = name
    this.chooser = chooser
    this.onHeard = onHeard
    this.onMute = onMute
    this.tunnels = tunnels
    this.options = options
    this.calls = calls
    this.clock = clock
    this.log = log
    this.descriptors = new Descriptors(reserve)
    this.loops = new LoopWatch(clock)
    this.dials = new Deadlines(clock, options.dial.timeoutMs)
    this.#transport = createTransport(this)
    this.#sweep()
    this.#stopSweeping = this.#sweepEvery(sweepMs(options))
  }

  async listen(frontend: Frontend, service: GlobalService, paused?: Listener, passed?: Passed): Promise<Listener> {
    const listener = await this.#bind(frontend, service, passed)
    if (paused) this.#takeOver(paused, listener)
    return listener
  }

  #bind(frontend: Frontend, service: GlobalService, passed?: Passed): Promise<ListenerState> {
    if (this.draining) return Promise.reject(closingError(frontend))
    if (!this.descriptors.takeForListener(this.held)) return Promise.reject(listenError(frontend, noDescriptor()))
    switch (frontend.protocol) {
      case 'TCP':
        return this.#keep(
          this.#tcp,
          this.#transport.listenTcp(frontend, service, listener => this.#closedTcp(listener), passed),
        )
      case 'UDP':
        return this.#keepUdp(
          this.#transport.listenUdp(frontend, service, listener => this.#closedUdp(listener), passed),
        )
      case 'SCTP':
        return Promise.reject(
          new MeshError('LISTEN', `cannot listen on ${frontend.key}: Starlane carries TCP and UDP only`),
        )
    }
  }

  retire(backends: readonly string[]): void {
    const keys = new Set(backends)
    const leaves = ({ backend }: OpenFlow) => backend !== undefined && keys.has(backend.key)
    for (const session of [...this.sessions].filter(leaves)) session.move()
    this.#drain([...this.connections].filter(leaves), connection => {
      if (leaves(connection) && !connection.backendListed) connection.cut('drained')
    })
  }

  lose(destinations: readonly string[]): void {
    const lost = new Set(destinations)
    const isLost = ({ backend }: OpenFlow) => backend !== undefined && lost.has(backend.destination)
    for (const session of [...this.sessions].filter(isLost)) session.lose()
    for (const connection of [...this.connections].filter(isLost)) connection.lose()
  }

  configure(options: EngineOptions): void {
    this.options = options
    this.dials.change(options.dial.timeoutMs)
    this.#transport.configure()
    if (!this.#timers.delete(this.#stopSweeping)) return // destroyed
    this.#stopSweeping()
    this.#stopSweeping = this.#sweepEvery(sweepMs(options))
  }

  stats(): EngineStats {
    return { connections: this.connections.size, udpSessions: this.sessions.size }
  }

  rings(): Loop[] {
    return this.loops.loops()
  }

  close({ isKept = false } = {}): Promise<Cut> {
    this.#closing ??= isKept ? this.#closeKept() : this.#close()
    return this.#closing
  }

  destroy(): void {
    this.draining = true
    this.#cutNow([...this.connections], [...this.sessions])
    for (const listener of [...this.#tcp, ...this.#udp]) void listener.close()
    this.#transport.destroy()
    this.dials.close()
    this.loops.close()
    for (const cancel of this.#timers) cancel()
    this.#timers.clear()
  }

  get held(): number {
    return perConnection * this.connections.size + this.sessions.size
  }

  nextId(): number {
    return ++this.#lastId
  }

  localFault(error: Error): void {
    const code = codeOf(error)
    const fault = this.#faults.get(code) ?? { loggedAt: Number.NEGATIVE_INFINITY, times: 0 }
    this.#faults.set(code, fault)
    fault.times++
    if (this.clock.now() - fault.loggedAt < faultQuietMs) return
    this.log.warn('engine.fault', { code, message: error.message, times: fault.times })
    fault.loggedAt = this.clock.now()
    fault.times = 0
  }

  ended(): void {
    if (this.connections.size === 0 && this.sessions.size === 0) this.#empty?.()
  }

  #sweepEvery(ms: number): () => void {
    const cancel = this.clock.every(ms, () => this.#sweep())
    this.#timers.add(cancel)
    return cancel
  }

  #sweep(): void {
    const now = this.clock.now()
    this.descriptors.measure(() => this.held, now)
    this.#transport.sweep(now)
  }

  #takeOver(paused: Listener, listener: ListenerState): void {
    for (const connection of this.connections) if (connection.listener === paused) connection.listener = listener
    void paused.close() // no flow belongs to it any more
  }

  async #keep<L extends ListenerState>(listeners: Set<L>, opening: Promise<L>): Promise<L> {
    const listener = await opening
    listeners.add(listener)
    if (!this.draining) return listener
    await listener.close()
    throw closingError(listener.frontend)
  }

  /** A session whose client had the address before would now be answered by the frontend. */
  async #keepUdp(opening: Promise<UdpFrontend>): Promise<UdpFrontend> {
    const listener = await this.#keep(this.#udp, opening)
    this.#forgetAddress.set(listener, this.udpAddresses.add(listener.frontend))
    for (const session of this.sessions) if (this.udpAddresses.has(session.client)) session.cut('removed')
    return listener
  }

  #closedUdp(listener: ListenerState): void {
    this.#udp.delete(listener as UdpFrontend)
    this.#forgetWatches(listener)
    this.#forgetAddress.get(listener)?.()
    this.#forgetAddress.delete(listener)
  }

  #closedTcp(listener: ListenerState): void {
    this.#tcp.delete(listener)
    this.#forgetWatches(listener)
    if (this.draining) return
    const left = [...this.connections].filter(connection => connection.listener === listener)
    this.#drain(left, connection => connection.cut('removed'))
  }

  /** Another listener of the frontend goes on watching. */
  #forgetWatches({ frontend: { key } }: ListenerState): void {
    if (!this.loops.knows(key)) return
    for (const { frontend } of [...this.#tcp, ...this.#udp]) if (frontend.key === key) return
    this.loops.forget(key)
  }

  /** What waits in the sockets, and what comes, is for whoever has them next. */
  async #closeKept(): Promise<Cut> {
    await Promise.all([...this.#udp].map(listener => listener.hold()))
    return this.#close()
  }

  /** The UDP sockets stay open to the end: replies leave by them. */
  async #close(): Promise<Cut> {
    this.draining = true
    await Promise.all([...this.#tcp].map(listener => listener.close()))
    const empty = new Promise<void>(resolve => {
      this.#empty = resolve
    })
    this.#drain([...this.connections], connection => this.#cutNow([connection], []))
    this.#drain([...this.sessions], session => this.#cutNow([], [session]))
    this.ended()
    await empty
    await Promise.all([...this.#udp].map(listener => listener.close()))
    this.destroy()
    return this.#cut
  }

  /** Counts those that have not ended before. */
  #cutNow(connections: readonly OpenConnection[], sessions: readonly OpenSession[]): void {
    const before = this.stats()
    for (const flow of [...connections, ...sessions]) flow.cut('shutdown')
    this.#cut.connections += before.connections - this.connections.size
    this.#cut.udpSessions += before.udpSessions - this.sessions.size
  }

  #drain<F>(flows: readonly F[], cut: (flow: F) => void): void {
    if (flows.length > 0) drain(flows, this.options.drainMs, (ms, run) => this.#after(ms, run), cut)
  }

  #after(ms: number, run: () => void): () => void {
    const cancel = this.clock.after(ms, () => {
      this.#timers.delete(cancel)
      run()
    })
    this.#timers.add(cancel)
    return cancel
  }
}

function closingError({ key }: Frontend): MeshError {
  return new MeshError('LISTEN', `cannot listen on ${key}: the engine is closing`)
}

/** A tenth of the shortest idle time, so that no flow ends much too late; a second at most. A quarter of the time for a first byte. */
function sweepMs({ idle: { tcpMs, halfClosedMs, udpMs }, firstByteMs = 0 }: EngineOptions): number {
  const shortest = Math.min(...[tcpMs, halfClosedMs, udpMs, firstByteMs * 2.5].filter(ms => ms > 0), 10_000)
  return Math.max(shortest / 10, 10)
}
