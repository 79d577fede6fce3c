/** Makes the JSON form of recorded flows and questions. */
import { randomUUID } from 'node:crypto'
import { familyOf, parseEndpoint, type SocketAddress } from '../model/address.ts'
import { clusterOfKey } from '../model/backend.ts'
import {
  dropReasonOf,
  type FlowDetails,
  type FlowEndpoint,
  type FlowOutcome,
  type FlowRecord,
  type FlowRoute,
  type Layer4,
  verdictOf,
} from '../model/flow-record.ts'
import type { Clock } from '../model/time/clock.ts'
import type { FlowEntry } from './flow-ring.ts'
import type { Recorder } from './recorder.ts'

export interface ReaderParts {
  readonly recorder: Recorder
  readonly clock: Clock
  /** The name of the node, or of the machine. */
  readonly node: string
  /** The local cluster. */
  cluster(): string
  /** What is known of a client's address now, and of a backend's. */
  client(address: string): FlowEndpoint | undefined
  backend(key: string, address: string): FlowEndpoint | undefined
  route(cluster: string): FlowRoute
  /** Where the responder listens. */
  dns(): SocketAddress | undefined
  /** `A` for 1. */
  typeName(type: number): string
}

/** In zones of ours, NOERROR and NXDOMAIN are answers. */
const answered: readonly number[] = [0, 3]
const refusedRcode = 5
/** Of an answer, that are shown. */
const mostAddresses = 32

export class FlowReader {
  readonly #parts: ReaderParts
  /** The first 24 characters of a UUID; the rest is the number of the record. */
  readonly #flowIds = randomUUID().slice(0, 24)
  readonly #questionIds = randomUUID().slice(0, 24)

  constructor(parts: ReaderParts) {
    this.#parts = parts
  }

  get node(): string {
    return this.#parts.node
  }

  /** Wall-clock time of a monotonic one. */
  wall(monotonic: number): number {
    const { clock } = this.#parts
    return clock.wall() - (clock.now() - monotonic)
  }

  /** Undefined if it has been overwritten. */
  flow(record: number): FlowRecord | undefined {
    const { recorder, node, cluster, client, backend, route } = this.#parts
    const { flows } = recorder
    if (!flows.has(record)) return undefined
    const entry = flows.read(record)
    const { client: address, udp: isUdp, service, frontend, backend: key, refusal, reason } = entry
    const outcome = outcomeOf(entry)
    const to = endpointOf(key === undefined ? frontend : key.slice(key.indexOf('/') + 1))
    const [namespace = '', name = ''] = service.split('/')
    // A failed attempt of a connection is followed by another, or by a refusal.
    const isOpen = reason === '' && !refusal && (entry.outcome === 'connected' || (!isUdp && outcome !== 'cancelled'))
    const details: FlowDetails = {
      kind: isUdp ? 'session' : 'connection',
      outcome,
      state: isOpen ? 'open' : 'ended',
      service,
      frontend,
      ...(key === undefined
        ? {}
        : {
            backend: key,
            cluster: clusterOfKey(key),
            route: route(clusterOfKey(key)),
            dial_ms: entry.dialMs,
          }),
      attempts: entry.attempts,
      ...(entry.outcome === 'connected' || entry.outcome === '' ? {} : { dial_outcome: entry.outcome }),
      ...(refusal ? { refusal } : {}),
      ...(reason === '' && entry.outcome !== 'connected' ? {} : { sent: entry.sent, received: entry.received }),
      ...(reason === '' ? {} : { duration_ms: entry.durationMs, close_reason: reason }),
    }
    const source = client(address) ?? { cluster_name: cluster() }
    return {
      uuid: this.#flowIds + hex(record),
      time: timeText(this.wall(entry.time)),
      verdict: verdictOf(outcome),
      ...(outcome === 'refused' && refusal ? { drop_reason_desc: dropReasonOf(refusal.code) } : {}),
      IP: addresses(address, to.address),
      l4: layer4(isUdp, entry.port, to.port),
      source,
      destination: { ...(key === undefined ? {} : destinationOf(key, backend(key, to.address), namespace)) },
      Type: 'L3_L4',
      node_name: node,
      destination_service: { name, namespace },
      traffic_direction: 'EGRESS',
      is_reply: false,
      Summary: `${isUdp ? 'UDP' : 'TCP'} to ${service}: ${summary(details)}`,
      starlane: details,
    }
  }

  /** Undefined if it has been overwritten. */
  question(record: number): FlowRecord | undefined {
    const { recorder, node, cluster, client, dns, typeName } = this.#parts
    const { questions } = recorder
    if (!questions.has(record)) return undefined
    const asked = questions.read(record)
    const { zone, rcode, ms, transport } = asked
    const { address } = asked.client
    const outcome = answerOutcome(rcode)
    const labels = labelsIn(asked.name)
    const service = zone === '.' ? undefined : serviceIn(labels)
    const type = typeName(asked.type)
    const query = `${labels.join('.')}.`
    const ips = asked.addresses.slice(0, mostAddresses)
    const [namespace = '', name = ''] = service?.split('/') ?? []
    const to = dns() ?? { address: '', port: 53 }
    return {
      uuid: this.#questionIds + hex(record),
      time: timeText(this.wall(asked.at)),
      verdict: verdictOf(outcome),
      ...(outcome === 'refused' ? { drop_reason_desc: 'POLICY_DENIED' as const } : {}),
      IP: addresses(address, to.address),
      l4: layer4(transport === 'udp', asked.client.port, to.port),
      source: client(address) ?? { cluster_name: cluster() },
      destination: { cluster_name: cluster() },
      Type: 'L7',
      node_name: node,
      ...(service === undefined ? {} : { destination_service: { name, namespace } }),
      l7: {
        type: 'RESPONSE',
        latency_ns: Math.round(ms * 1e6),
        dns: { query, qtypes: [type], rcode, ...(ips.length > 0 && { ips }) },
      },
      traffic_direction: 'EGRESS',
      is_reply: true,
      Summary: `DNS answer ${query} ${type}: rcode ${rcode}${ips.length > 0 ? `, ${ips.join(', ')}` : ''}`,
      starlane: {
        kind: 'question',
        outcome,
        state: 'ended',
        ...(service === undefined ? {} : { service }),
        received: asked.bytes,
        duration_ms: ms,
        zone,
        transport,
      },
    }
  }
}

export function outcomeOf({ outcome, refusal, attempts }: FlowEntry): FlowOutcome {
  if (outcome === 'connected') return 'forwarded'
  if (refusal) return refusal.code === 'no-backend' && attempts > 0 ? 'failed' : 'refused'
  return outcome === 'cancelled' ? 'cancelled' : 'failed'
}

export function answerOutcome(rcode: number): FlowOutcome {
  return answered.includes(rcode) ? 'forwarded' : rcode === refusedRcode ? 'refused' : 'failed'
}

/** The labels of a name in wire form, in lower case. What is not printable becomes `?`. */
export function labelsIn(name: string): string[] {
  const labels: string[] = []
  for (let at = 0; at < name.length; ) {
    const length = name.charCodeAt(at)
    if (length === 0) break
    labels.push(name.slice(at + 1, at + 1 + length).replace(/[^\x21-\x7e]|\./g, '?'))
    at += 1 + length
  }
  return labels.map(label => label.toLowerCase())
}

/** `namespace/name` of `name.namespace.svc.…`, also with a port or a pod before it. */
export function serviceIn(labels: readonly string[]): string | undefined {
  const at = labels.indexOf('svc')
  return at >= 2 ? `${labels[at - 1]}/${labels[at - 2]}` : undefined
}

/** Of `10.0.0.7:8080/TCP` */
function endpointOf(text: string): SocketAddress {
  return parseEndpoint(text.slice(0, text.lastIndexOf('/'))) ?? { address: '', port: 0 }
}

/** A backend of which no pod is known is still in its cluster and in the namespace of its service. */
function destinationOf(key: string, known: FlowEndpoint | undefined, namespace: string): FlowEndpoint {
  return known ?? { cluster_name: clusterOfKey(key), namespace }
}

function addresses(source: string, destination: string): FlowRecord['IP'] {
  return { source, destination, ipVersion: familyOf(source) === 4 ? 'IPv4' : 'IPv6' }
}

function layer4(isUdp: boolean, source_port: number, destination_port: number): Layer4 {
  const ports = { source_port, destination_port }
  return isUdp ? { UDP: ports } : { TCP: ports }
}

function summary({ outcome, state, refusal, close_reason, dial_outcome }: FlowDetails): string {
  if (outcome === 'forwarded') return state === 'open' ? 'open' : `closed, ${close_reason}`
  const why = refusal ? `${refusal.code}: ${refusal.why}` : dial_outcome
  return why === undefined ? outcome : `${outcome}, ${why}`
}

function hex(record: number): string {
  return record.toString(16).padStart(12, '0')
}

function timeText(wall: number): string {
  return new Date(wall).toISOString()
}
