/** Flows, and the contracts between the data path and those who decide or watch. */
import type { Backend, Backends } from './backend.ts'
import type { Frontend, GlobalService } from './service.ts'
import type { PeerIdentity } from './tunnel/identity.ts'

/** A client: the peer of a connection or session, or the source of a DNS query. */
export interface Client {
  /** Canonical. */
  readonly address: string
  readonly port: number
  /** What its certificate has proved, at a gateway: `address` is then that of the other cluster's proxy. */
  readonly identity?: PeerIdentity
  /**
   * At a gateway: the canonical address that the client has in the cluster of `identity`, as that cluster says. It is this cluster's
   * word, so it may stand for what this cluster has, and for nothing else.
   */
  readonly origin?: string
}

/** One client that uses one service: a TCP connection or a UDP session. */
export interface Flow {
  readonly id: number
  readonly client: Client
  readonly service: GlobalService
  readonly frontend: Frontend
  /** Keys of the backends that failed for this flow; the chain does not offer them again. */
  readonly tried: readonly string[]
}

/** Why a flow is refused. */
export interface Refusal {
  /** The name of the plugin that refuses, or one of Starlane's own codes: `refusalCodes` in refusal.ts. */
  readonly code: string
  readonly why: string
  /** The rule of that plugin that decided, where its rules have names: `shop/deny-all`. */
  readonly rule?: string
}

/**
 * How one attempt to reach a backend ended. `local` is a fault of this machine (descriptors, ports, memory), not of the
 * backend. `cancelled`: the client left first. For UDP the first reply is `connected`, an ICMP error `refused`.
 */
export type Result =
  | { readonly outcome: 'connected'; readonly ms: number }
  | {
      readonly outcome: 'refused' | 'timeout' | 'unreachable' | 'local' | 'cancelled'
      readonly ms: number
      readonly error?: Error
    }

/** Whether the result is a failure of the backend. */
export function blames(result: Result): boolean {
  return result.outcome === 'refused' || result.outcome === 'timeout' || result.outcome === 'unreachable'
}

/** Why a connected flow ended. */
export type CloseReason =
  | 'done'
  | 'client-reset'
  | 'backend-reset'
  | 'idle'
  | 'half-closed'
  | 'drained'
  | 'backend-lost'
  | 'removed'
  | 'evicted'
  /** Another process carries it on. */
  | 'passed'
  | 'shutdown'

export interface Bytes {
  /** From the client to the backend. */
  readonly sent: number
  /** From the backend to the client. */
  readonly received: number
}

export interface Totals extends Bytes {
  readonly ms: number
  readonly reason: CloseReason
  /** The last that `carried` was told of this flow, and so part of `sent` and `received`; nothing if it was not called. */
  readonly told?: Bytes | undefined
}

export type Choice =
  | { readonly backend: Backend; readonly refusal?: never }
  | { readonly refusal: Refusal; readonly backend?: never }

/** Is told about flows: plugins, passive health, metrics. Must not throw and must not wait. */
export interface FlowObserver {
  /** An attempt starts, before the dial. */
  connecting(flow: Flow, backend: Backend): void
  /** The attempt ended; exactly once per `connecting`. */
  result(flow: Flow, backend: Backend, result: Result): void
  /** An open flow has passed bytes on: all until now, and those since the last call. About once a second for each flow that moves. */
  carried(flow: Flow, backend: Backend, total: Bytes, more: Bytes): void
  /** The flow ended; once per attempt that connected. */
  closed(flow: Flow, backend: Backend, totals: Totals): void
  /** The flow got no backend, or no further one. The last call for a flow that never connected, unless its client left. */
  refused(flow: Flow, refusal: Refusal): void
}

/** The decisions of the chain, as the data path and DNS use them. All are synchronous. */
export interface Chooser extends FlowObserver {
  admit(client: Client, service: GlobalService): Refusal | undefined
  choose(flow: Flow): Choice
  /**
   * The backends of a headless service that this client may see, one per endpoint and port. With `preferred`, only those that
   * plugins which decide at change time prefer; not empty unless there are none.
   */
  visible(client: Client, service: GlobalService, preferred?: boolean): Backends
  /**
   * The backends of a frontend if no plugin needs to see its flows: an engine can then choose by itself until the next change.
   * Undefined if something must be decided per flow.
   */
  settled(frontend: Frontend, service: GlobalService): Backends | undefined
}

/** Chooses if no plugin picks. Gets only lists of at least two, and keeps no state that a change could invalidate. */
export interface Balancer {
  pick(flow: Flow, backends: Backends): Backend
}

/** The number of open flows of a backend. */
export type OpenFlows = (backend: Backend) => number
