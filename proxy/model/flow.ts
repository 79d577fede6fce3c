import type { Backend, Backends } from './backend.ts'
import type { Frontend, GlobalService } from './service.ts'

/** Who asks. For a flow the peer of the socket, for DNS the address the question came from. */
export interface Client {
  /** Canonical. */
  readonly address: string
  readonly port: number
}

/** One client asking for one service: a TCP connection or a UDP session. */
export interface Flow {
  readonly id: number
  readonly client: Client
  readonly service: GlobalService
  readonly frontend: Frontend
  /** Keys of the backends this flow has already failed on; the chain never offers them again. */
  readonly tried: readonly string[]
}

/** Why a flow is refused. */
export interface Refusal {
  /** The name of the plugin that refuses, or one of Starlane's own codes: `refusalCodes` in refusal.ts. */
  readonly code: string
  readonly why: string
}

/**
 * How one attempt to reach a backend ended. `local` is a fault of this machine (descriptors, ports, memory): it blames
 * no backend. `cancelled` is the client leaving first. For UDP the first reply is `connected`, an ICMP refusal `refused`.
 */
export type Result =
  | { readonly outcome: 'connected'; readonly ms: number }
  | {
      readonly outcome: 'refused' | 'timeout' | 'unreachable' | 'local' | 'cancelled'
      readonly ms: number
      readonly error?: Error
    }

/** Whether a result speaks against the backend. */
export function blames(result: Result): boolean {
  return result.outcome === 'refused' || result.outcome === 'timeout' || result.outcome === 'unreachable'
}

/** Why a flow that was connected ended; every close has exactly one. */
export type CloseReason =
  | 'done'
  | 'client-reset'
  | 'backend-reset'
  | 'idle'
  | 'half-closed'
  | 'drained'
  | 'removed'
  | 'shutdown'

export interface Totals {
  /** Bytes from the client to the backend. */
  readonly sent: number
  /** Bytes from the backend to the client. */
  readonly received: number
  readonly ms: number
  readonly reason: CloseReason
}

export type Choice =
  | { readonly backend: Backend; readonly refusal?: never }
  | { readonly refusal: Refusal; readonly backend?: never }

/** Hears what becomes of flows: plugins, passive health, metrics. May not throw and may not wait. */
export interface FlowObserver {
  /** An attempt begins, before the dial. */
  connecting(flow: Flow, backend: Backend): void
  /** The attempt ended; exactly once per `connecting`. */
  result(flow: Flow, backend: Backend, result: Result): void
  /** The flow ended; once per attempt that connected. */
  closed(flow: Flow, backend: Backend, totals: Totals): void
  /** The flow got no backend, or no further one; the last word on a flow that never connected, unless its client left. */
  refused(flow: Flow, refusal: Refusal): void
}

/** The decisions, as data path and DNS see them. Nothing here waits for anything. */
export interface Chooser extends FlowObserver {
  admit(client: Client, service: GlobalService): Refusal | undefined
  choose(flow: Flow): Choice
  /**
   * The backends of a headless service that this client may be told of, one per endpoint and port. With `preferred` those
   * that the service prefers among them, as far as it is settled before anybody asks; never none where there are some.
   */
  visible(client: Client, service: GlobalService, preferred?: boolean): Backends
  /**
   * The backends of a frontend when no plugin needs to see the flow: such a frontend can be handed to an engine that
   * chooses by itself until the next change. Undefined when something must be decided at flow time.
   */
  settled(frontend: Frontend, service: GlobalService): Backends | undefined
}

/** The last word when no plugin picks. Gets only lists of two and more, and remembers nothing that a change can void. */
export interface Balancer {
  pick(flow: Flow, backends: Backends): Backend
}

/** How many flows a backend carries now, for balancers that ask. */
export type OpenFlows = (backend: Backend) => number
