/** The recorder of flows in the runtime: with the names of what is in the records, those who watch, and the file. */
import { hostname } from 'node:os'
import type { Config } from '../../config/schema.ts'
import { typeName } from '../../dns/message/wire.ts'
import type { SocketAddress } from '../../model/address.ts'
import { clusterOfKey } from '../../model/backend.ts'
import type { Directory } from '../../model/directory.ts'
import type { Problem } from '../../model/error.ts'
import type { FlowEndpoint, FlowEvent, FlowRoute } from '../../model/flow-record.ts'
import type { ClientTraffic, Traffic } from '../../model/flows/traffic.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { Occupant } from '../../model/workloads/identity.ts'
import type { Workloads } from '../../model/workloads/workloads.ts'
import { clientTraffic } from '../../recorder/clients.ts'
import { FlowFile } from '../../recorder/file.ts'
import { type FlowNames, type FlowQuery, parseFlowQuery } from '../../recorder/filter.ts'
import { PodNames } from '../../recorder/names.ts'
import { FlowObservers } from '../../recorder/observer.ts'
import { FlowReader } from '../../recorder/reader.ts'
import { Recorder } from '../../recorder/recorder.ts'
import { TrafficCounts, tickMs } from '../../recorder/traffic-counts.ts'
import type { RuntimeContext } from '../context.ts'

export interface RecordingParts extends RuntimeContext {
  readonly config: () => Config
  readonly directory: Directory
  /** Pods with their labels, where a plugin reads them. */
  readonly workloads: Workloads
  readonly dns: () => SocketAddress | undefined
  readonly route: (cluster: string) => FlowRoute
}

export class Recording {
  /** Counts every flow, whether it is recorded or not. */
  readonly counts: TrafficCounts
  /** Undefined with `recorder.size: 0`. */
  readonly recorder: Recorder | undefined
  readonly #observers: FlowObservers | undefined
  readonly #names: PodNames
  readonly #file: FlowFile | undefined
  readonly #clock: Clock
  readonly #node: string
  #clients: () => ClientTraffic[] = () => []

  constructor({ config, directory, workloads, dns, route, clock, log, env }: RecordingParts) {
    const { size, rate, dns: questions, file } = config().recorder
    const cluster = () => config().cluster
    this.#names = new PodNames(directory, cluster)
    this.#clock = clock
    this.#node = env.NODE_NAME || hostname()
    this.counts = new TrafficCounts(directory, clock)
    if (size === 0) return
    const recorder = new Recorder({ size, rate, questions }, clock)
    const names = this.#names
    const parties: FlowNames = {
      ofClient: address => endpointOf(workloads.at(address)) ?? names.ofClient(address),
      ofBackend: (key, address) =>
        endpointOf(workloads.at(address, clusterOfKey(key))) ?? names.ofBackend(key, address),
    }
    const reader = new FlowReader({
      recorder,
      clock,
      node: this.#node,
      cluster,
      client: address => parties.ofClient(address),
      backend: (key, address) => parties.ofBackend(key, address),
      route,
      dns,
      typeName,
    })
    this.recorder = recorder
    this.#clients = () => clientTraffic(recorder, parties, clock)
    this.#observers = new FlowObservers({ recorder, reader, names: parties, clock })
    if (!file) return
    this.#file = new FlowFile({ path: file.path, maxBytes: file.maxSize, keep: file.keep }, log)
    this.#observers.follow(everything, events => this.#file?.write(events))
  }

  /** A text is what is wrong with the query. */
  past(query: URLSearchParams): readonly FlowEvent[] | string {
    const parsed = parseFlowQuery(query)
    return typeof parsed === 'string' ? parsed : (this.#observers?.past(parsed) ?? [])
  }

  /** What has passed, if `last` or `since` ask for it, and what passes from now on, until the returned function is called. */
  follow(query: URLSearchParams, push: (events: readonly FlowEvent[]) => void): (() => void) | string {
    const parsed = parseFlowQuery(query)
    if (typeof parsed === 'string') return parsed
    const observers = this.#observers
    if (!observers) return () => {}
    const stop = observers.follow(parsed, push)
    if (parsed.last !== undefined || parsed.sinceMs !== undefined) push(observers.past(parsed))
    return stop
  }

  traffic(): Traffic {
    const { counts } = this
    const fixed = { now: this.#clock.wall(), node: this.#node, historyMs: tickMs }
    return { ...fixed, services: counts.services(), clusters: counts.clusters(), clients: this.#clients() }
  }

  configure({ recorder }: Config): void {
    this.recorder?.setRate(recorder.rate)
  }

  problems(): Problem[] {
    return this.#file?.problems() ?? []
  }

  async close(): Promise<void> {
    this.#observers?.flush()
    this.#observers?.close()
    this.#names.close()
    this.counts.close()
    await this.#file?.close()
  }
}

/** Undefined for all but Pods. */
function endpointOf({ identity, pod }: Partial<Occupant> = {}): FlowEndpoint | undefined {
  if (identity?.kind !== 'pod') return undefined
  const labels = Object.entries(identity.labels).map(([name, value]) => `k8s:${name}=${value}`)
  const name = pod?.slice(pod.indexOf('/') + 1)
  return {
    cluster_name: identity.cluster,
    namespace: identity.namespace,
    ...(name === undefined ? {} : { pod_name: name }),
    ...(labels.length > 0 ? { labels } : {}),
  }
}

const everything: FlowQuery = { matches: () => true, last: undefined, sinceMs: undefined, follow: true }
