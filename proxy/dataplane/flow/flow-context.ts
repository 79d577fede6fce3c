import type { Backend } from '../../model/backend.ts'
import type { CloseReason } from '../../model/flow.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { EngineParts, Listener } from '../engine.ts'
import type { Buffers } from '../streams/buffers.ts'

/** What all flows of one engine share. */
export interface FlowContext extends EngineParts {
  readonly buffers: Buffers
  readonly connections: Set<OpenConnection>
  readonly sessions: Set<OpenSession>
  /** Sessions without a backend that has answered, oldest first: the first to go when room is needed. */
  readonly unanswered: Set<OpenSession>
  /** True from `close()` on: what is quiet may end early. */
  readonly draining: boolean
  /** Of the flow that begins now; unique in this engine. */
  nextId(): number
  /** This machine failed, not a backend. Goes to the log, though not for each flow. */
  localFault(error: Error): void
  /** A flow has ended and is out of the sets. */
  ended(): void
}

/** How an engine's bytes move. */
export interface Transport {
  /** `onClose` is told when the address is free and the listener's flows should drain. */
  listenTcp(
    frontend: Frontend,
    service: GlobalService,
    onClose: (listener: TcpListening) => void,
  ): Promise<TcpListening>
  listenUdp(frontend: Frontend, service: GlobalService, onClose: (listener: Listener) => void): Promise<Listener>
  /** Looks for idle flows; called about every second with the clock's time. */
  sweep(now: number): void
  /** All flows are cut by now. When this returns, their ends have been told. */
  destroy(): void
}

export interface TcpListening extends Listener, ListenerState {
  readonly frontend: Frontend
}

/** A flow in the engine's keeping. */
export interface OpenFlow {
  /** Of the current attempt. */
  readonly backend: Backend | undefined
  /** Ends the flow now. */
  cut(reason: CloseReason): void
}

export interface OpenConnection extends OpenFlow {
  /** The listener it came by. */
  readonly listener: ListenerState
  /** Whether new flows of its frontend may go to its backend as well. */
  readonly wanted: boolean
}

export interface OpenSession extends OpenFlow {
  /** Leaves its backend; the next datagram goes to another. */
  move(): void
  /** Ends to make room for another session. */
  evict(): void
}

/** A listener's frontend and service as they are now; new flows and new attempts go by it. */
export interface ListenerState {
  readonly frontend: Frontend
  readonly service: GlobalService
}
