/**
 * The JSON form of one recorded flow: a connection, a UDP session or a DNS question. `starlane observe`, `/v1/flows`, the
 * rotated file and `starlane rehearse` exchange it, one object to a line, as {@link FlowEvent}. Names and enumerations follow
 * Hubble's flow schema (cilium api/v1/flow/flow.proto and api/v1/observer/observer.proto) where it has the notion; what it has
 * no field for is in `starlane`.
 */
import type { CloseReason, Result } from './flow.ts'

/** `ERROR`: no attempt succeeded. `VERDICT_UNKNOWN`: the client left before any did. */
export type FlowVerdict = 'FORWARDED' | 'DROPPED' | 'ERROR' | 'VERDICT_UNKNOWN'

/** Hubble's reasons for `DROPPED`, as far as Starlane has them. The exact one is in `starlane.refusal`. */
export type DropReason =
  | 'POLICY_DENIED'
  | 'SERVICE_BACKEND_NOT_FOUND'
  | 'CT_MAP_INSERTION_FAILED'
  | 'IS_A_CLUSTERIP'
  | 'DROP_HOST_NOT_READY'
  | 'DROP_REASON_UNKNOWN'

/** One end of a flow: what is known of its address. */
export interface FlowEndpoint {
  readonly cluster_name?: string
  readonly namespace?: string
  readonly pod_name?: string
  /** Cilium's numeric security identity. */
  readonly identity?: number
  /** `k8s:app=web` */
  readonly labels?: readonly string[]
}

interface Ports {
  readonly source_port: number
  readonly destination_port: number
}

export type Layer4 = { readonly TCP: Ports } | { readonly UDP: Ports }

export interface Layer7 {
  readonly type: 'RESPONSE'
  /** From the question to the reply. */
  readonly latency_ns: number
  readonly dns: {
    /** With a dot at the end, in lower case. */
    readonly query: string
    /** `A`, `TYPE65` */
    readonly qtypes: readonly [string]
    readonly rcode: number
    /** The addresses of the answer, at most a few; absent where they were not kept. */
    readonly ips?: readonly string[]
  }
}

/** Who or what refused: the name of a plugin or a code of {@link refusalCodes}, and the rule that decided, if it has names. */
export interface FlowRefusal {
  readonly code: string
  readonly why: string
  readonly rule?: string
}

export type FlowKind = 'connection' | 'session' | 'question'

/** The words of `--verdict`: `failed` is Hubble's ERROR, `refused` its DROPPED. */
export type FlowOutcome = 'forwarded' | 'refused' | 'failed' | 'cancelled'

/** How packets reach a cluster: addressed to the backend, through a gateway, or through a pod network of Starlane's. */
export type FlowRoute = 'direct' | 'tunnel' | 'underlay'

export interface FlowDetails {
  readonly kind: FlowKind
  readonly outcome: FlowOutcome
  /** `open`: a flow that has not ended; its bytes are those until now, its duration is not known yet. */
  readonly state: 'open' | 'ended'
  /** `namespace/name`; absent for a question for a name that is no service's. */
  readonly service?: string
  /** `10.96.0.1:80/TCP` */
  readonly frontend?: string
  /** Key of the last backend that was tried: `cluster-2/10.0.0.7:8080/TCP`. */
  readonly backend?: string
  /** Of that backend. */
  readonly cluster?: string
  readonly route?: FlowRoute
  /** How many backends were dialled. */
  readonly attempts?: number
  /** Of the last attempt, if none connected. */
  readonly dial_outcome?: Exclude<Result['outcome'], 'connected'>
  /** Until the last attempt had a result. */
  readonly dial_ms?: number
  readonly refusal?: FlowRefusal
  /** Bytes from the client to the backend, and back, of an open flow as of about a second ago; for a question, those of the reply. */
  readonly sent?: number
  readonly received?: number
  /** From the connection to its end; for a question as `latency_ns`. */
  readonly duration_ms?: number
  readonly close_reason?: CloseReason
  /** Of a question: its zone, `.` for names of others. */
  readonly zone?: string
  /** Of a question: over which protocol it came. */
  readonly transport?: 'udp' | 'tcp'
}

export interface FlowRecord {
  /** Of the record: the same while a flow goes from open to ended. Unique among all processes. */
  readonly uuid: string
  /** When the first attempt began, or the question came; RFC 3339 in UTC. */
  readonly time: string
  readonly verdict: FlowVerdict
  readonly drop_reason_desc?: DropReason
  /** The destination is the backend's address; the frontend's if none was tried; the responder's for a question. */
  readonly IP: { readonly source: string; readonly destination: string; readonly ipVersion: 'IPv4' | 'IPv6' }
  readonly l4: Layer4
  readonly source: FlowEndpoint
  readonly destination: FlowEndpoint
  readonly Type: 'L3_L4' | 'L7'
  readonly node_name: string
  readonly destination_service?: { readonly name: string; readonly namespace: string }
  readonly l7?: Layer7
  readonly traffic_direction: 'EGRESS'
  /** False for a flow, which is recorded in the direction of its client; true for the answer to a question. */
  readonly is_reply: boolean
  readonly Summary: string
  readonly starlane: FlowDetails
}

/** One line of `observe -o json`, of a recorded file and of the stream. As Hubble's GetFlowsResponse. */
export type FlowEvent =
  | { readonly flow: FlowRecord; readonly node_name: string; readonly time: string }
  | { readonly lost_events: LostEvents; readonly node_name: string; readonly time: string }

export interface LostEvents {
  /** `HUBBLE_RING_BUFFER`: replaced by newer flows, or sampled out; `OBSERVER_EVENTS_QUEUE`: the reader was too slow. */
  readonly source: 'HUBBLE_RING_BUFFER' | 'OBSERVER_EVENTS_QUEUE'
  readonly num_events_lost: number
}

const verdicts: Readonly<Record<FlowOutcome, FlowVerdict>> = {
  forwarded: 'FORWARDED',
  refused: 'DROPPED',
  failed: 'ERROR',
  cancelled: 'VERDICT_UNKNOWN',
}

export const flowOutcomes = Object.keys(verdicts) as FlowOutcome[]

export function verdictOf(outcome: FlowOutcome): FlowVerdict {
  return verdicts[outcome]
}

const dropReasons: Readonly<Record<string, DropReason>> = {
  'no-backend': 'SERVICE_BACKEND_NOT_FOUND',
  limit: 'CT_MAP_INSERTION_FAILED',
  loop: 'IS_A_CLUSTERIP',
  draining: 'DROP_HOST_NOT_READY',
}

/** Any code that is not Starlane's own is the name of a plugin. */
export function dropReasonOf(code: string): DropReason {
  return dropReasons[code] ?? 'POLICY_DENIED'
}
