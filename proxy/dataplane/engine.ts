/** The interface of an engine, `streams` or `native`: all that the rest of Starlane knows of it. */

import type { Backend } from '../model/backend.ts'
import type { Chooser, Flow } from '../model/flow.ts'
import type { Log } from '../model/log.ts'
import type { Frontend, GlobalService } from '../model/service.ts'
import type { Passed, PassingCalls } from '../model/sockets/passing.ts'
import type { EngineStats } from '../model/stats/engine.ts'
import type { Clock } from '../model/time/clock.ts'
import type { Tunnels } from '../model/tunnel/tunnels.ts'

export interface Engine {
  readonly name: string
  /**
   * Binds and begins to carry flows. Rejects with `MeshError` LISTEN that names the address, the cause and the remedy. The flows
   * of `paused`, an earlier listener of the same frontend, belong to the new one from then on. With `passed` the socket is not bound
   * but taken from another process, with its UDP sessions.
   */
  listen(frontend: Frontend, service: GlobalService, paused?: Listener, passed?: Passed): Promise<Listener>
  /**
   * These backends have left. Their TCP flows may go on for the drain time and are then closed, spread over its last part; UDP
   * sessions move to another backend at once. A backend that a flow's service lists again by then, in any state, keeps the flow.
   * Takes keys of {@link Backend}.
   */
  retire(backends: readonly string[]): void
  /** Nothing is heard of these backends any more: their TCP flows are reset now, UDP sessions move. Takes destinations. */
  lose(destinations: readonly string[]): void
  /** Other options from now on, also for the flows in progress. Sockets stay as they are. */
  configure(options: EngineOptions): void
  stats(): EngineStats
  /** Rings through another proxy that were found of late. */
  rings(): readonly Loop[]
  /**
   * Stops accepting and gives flows at most the drain time to end; what is left is cut, spread over its last part. Resolves with
   * the number of flows that were cut, when no socket is left. `isKept`: somebody else has the sockets too, and will read from them, so no
   * datagram is read any more; sessions end once their backends are silent.
   */
  close(options?: { readonly isKept?: boolean }): Promise<Cut>
  /** Cuts everything now. */
  destroy(): void
}

/** Flows that were cut because Starlane stopped. */
export interface Cut {
  readonly connections: number
  readonly udpSessions: number
}

export interface Listener {
  readonly frontend: Frontend
  /** Whether pausing would end a flow whose backend is listed: a UDP session. */
  readonly holdsSessions: boolean
  /** Accepts nothing more. */
  readonly closed: boolean
  /** New flows follow the new service from now on; flows in progress are not touched. */
  update(frontend: Frontend, service: GlobalService): void
  /**
   * Stops accepting and frees the address, so that the kernel refuses clients. TCP flows in progress go on, and `update` and
   * `close` still apply to them; UDP sessions end, since nothing can answer from the address.
   */
  pause(): Promise<void>
  /**
   * Gives the socket away, with its UDP sessions: clients wait in it until another process serves them, or this one again by
   * `Engine.listen`. TCP flows in progress go on here. Rejects with `MeshError` STATE without the addon.
   */
  pass(): Promise<Passed>
  /** Stops accepting and frees the address; flows in progress drain. */
  close(): Promise<void>
}

/** Durations in milliseconds. Replaced as a whole, never changed. */
export interface EngineOptions {
  readonly dial: { readonly timeoutMs: number; readonly attempts: number; readonly budgetMs: number }
  readonly idle: { readonly tcpMs: number; readonly halfClosedMs: number; readonly udpMs: number }
  readonly drainMs: number
  /** How long a backend may take for its first byte after the client's, before {@link EngineParts.onMute}; absent or 0: not looked at. */
  readonly firstByteMs?: number
  /** `perFrontend`: the part of both that flows of one frontend may take; 1 unless given. */
  readonly limits: { readonly connections: number; readonly udpSessions: number; readonly perFrontend?: number }
}

export interface EngineParts {
  readonly chooser: Chooser
  /** A flow has got bytes from its backend since the last look at it; at most about once a second for each flow. */
  readonly onHeard?: (backend: Backend) => void
  /** The client of a flow has asked, and its backend has sent no byte for `firstByteMs`; once for each flow. Nothing is cut. */
  readonly onMute?: (flow: Flow, backend: Backend) => void
  /** Dials backends that are reached through gateways; undefined: there are none. */
  readonly tunnels?: Tunnels | undefined
  readonly options: EngineOptions
  /** Native threads that carry flows, 1 to 64; 1 unless given. Of the engine native alone. */
  readonly threads?: number
  /** What passing sockets needs; undefined without the addon. */
  readonly calls?: PassingCalls | undefined
  /** Descriptors that flows leave alone; 16 unless given. */
  readonly reserve?: DescriptorReserve
  readonly clock: Clock
  readonly log: Log
}

/** What is kept for the rest of the process: how many it may take, and how many of them it holds now. */
export interface DescriptorReserve {
  readonly most: number
  held(): number
}

/** A backend that leads back to us, and the address that its flows come from. */
export interface Loop {
  readonly backend: Backend
  readonly client: string
  readonly frontend: string
  readonly service: string
}
