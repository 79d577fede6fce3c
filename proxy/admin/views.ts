/** What the admin API needs from the runtime. */
import type { FlowEvent } from '../model/flow-record.ts'
import type { Rehearsal } from '../model/flows/rehearsal.ts'
import type { Traffic } from '../model/flows/traffic.ts'
import type { Json } from '../model/text/json.ts'
import type { Explanation, NameExplanation, ServiceView, Status } from '../model/views.ts'

/** Each call returns the current state. Only `dns` may wait for the network. */
export interface Views {
  status(): Status
  /** Finds the conditions of services that have changed, in turns, so that `status` then takes little time. */
  examine(): Promise<void>
  /** By name; of a running process in turns. */
  services(): Iterable<ServiceView> | AsyncIterable<ServiceView>
  service(namespace: string, name: string): ServiceView | undefined
  /** `from` is a canonical address; by default the client is this machine. */
  explain(namespace: string, name: string, from?: string): Explanation | undefined
  /** The canonical address of a Pod, `NAMESPACE/NAME`, if it is known. */
  addressOf(pod: string): string | undefined
  /** The rcode is FORMERR if the name or type is malformed. Asks upstream resolvers as a client's query would. */
  dns(name: string, type: string, from?: string): Promise<NameExplanation>
  /** What other policies, or the loss of a cluster, would do to recorded flows. Throws or rejects with USAGE for a bad request. */
  rehearse(request: unknown): Promise<Rehearsal>
  /** The current configuration with all defaults, without secrets. */
  config(): Json
  /** Prometheus text, format 0.0.4. */
  metrics(): Promise<string>
  /** The same as OpenMetrics, with exemplars; undefined if none are kept. */
  openMetrics(): Promise<string> | undefined
  ready(): Readiness
  /** Recorded flows that match; a text is what is wrong with the query. */
  flows(query: URLSearchParams): readonly FlowEvent[] | string
  traffic(): Traffic
  /** Calls `push` with flows as they pass, until the returned function is called. */
  follow(query: URLSearchParams, push: (events: readonly FlowEvent[]) => void): (() => void) | string
}

export interface Readiness {
  readonly ready: boolean
  /** It was told to stop. */
  readonly stopping: boolean
  /** Another process serves in its place, and has for as long as this one has been stopping. */
  readonly handedOver?: boolean
  /** Which process this is, where two may answer at one address: the name of its Pod. Undefined: not known. */
  readonly instance?: string | undefined
  /** What is not up yet: `source cluster-2`, `DNS`. */
  readonly waiting: readonly string[]
  /** What is unsafe, although it is ready: other sockets that answer on addresses of frontends. */
  readonly unsafe: readonly string[]
}
