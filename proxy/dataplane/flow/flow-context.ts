/** What all flows of one engine share, and what the engine needs of each of them. */
import type { Backend } from '../../model/backend.ts'
import type { CloseReason, Flow } from '../../model/flow.ts'
import type { EngineOptions, EngineParts } from '../engine.ts'
import type { Deadlines } from './deadlines.ts'
import type { Descriptors } from './limits/descriptors.ts'
import type { Holdable, LoopWatch } from './limits/loop-watch.ts'
import type { Shares, Sharing } from './limits/shares.ts'
import type { ListenerState } from './listener-state.ts'
import type { UdpAddresses } from './udp-addresses.ts'

export interface FlowContext extends EngineParts {
  /** As they are now: read at each use, since a reload replaces them. */
  readonly options: EngineOptions
  readonly onHeard: (backend: Backend) => void
  readonly onMute: (flow: Flow, backend: Backend) => void
  readonly connections: Shares<OpenConnection>
  readonly sessions: Shares<OpenSession>
  /** Sessions without a backend that has answered, oldest first: the first to go when room is needed. */
  readonly unanswered: Set<OpenSession>
  /** Of the UDP frontends that are open now: no client is served from one of these. */
  readonly udpAddresses: UdpAddresses
  readonly descriptors: Descriptors
  readonly loops: LoopWatch
  /** Descriptors that flows hold. */
  readonly held: number
  /** Time limits of dials that have the whole `dial.timeoutMs`. */
  readonly dials: Deadlines
  /** True from `close()` on: idle flows may end early. */
  readonly draining: boolean
  /** For a new flow; unique in this engine. */
  nextId(): number
  /** This machine failed, not a backend. Logged, but not once per flow. */
  localFault(error: Error): void
  /** A flow has ended and is out of the sets. */
  ended(): void
}

export interface OpenFlow extends Sharing, Holdable {
  /** Of the current attempt. */
  readonly backend: Backend | undefined
  /** Ends the flow now. */
  cut(reason: CloseReason): void
  /** Ends the flow to make room for another. */
  evict(): void
  /** Called about every second with the clock's time, by engines that look for idle flows in TypeScript. */
  tick(now: number): void
}

export interface OpenConnection extends OpenFlow {
  /** The listener that accepted it, or the one that was opened in its place. */
  listener: ListenerState
  /** Whether its service lists its backend, in any state: a backend that came back keeps its flows. */
  readonly backendListed: boolean
  /** Its backend is lost: cuts it, unless it is still being dialled, which has a time limit of its own. */
  lose(): void
}

export interface OpenSession extends OpenFlow {
  /** Leaves its backend; the next datagram goes to another. */
  move(): void
  /** Its backend is lost: as {@link move}, and not back to the same. */
  lose(): void
}
