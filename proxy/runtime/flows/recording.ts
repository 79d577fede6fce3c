/** The recorder of flows in the runtime: with the names of what is in the records, those who watch, and the file. */
import { hostname } from 'node:os'
import type { Config } from '../../config/schema.ts'
import { typeName } from '../../dns/message/wire.ts'
import type { SocketAddress } from '../../model/address.ts'
import type { Directory } from '../../model/directory.ts'
import type { Problem } from '../../model/error.ts'
import type { FlowEvent, FlowRoute } from '../../model/flow-record.ts'
import { FlowFile } from '../../recorder/file.ts'
import { type FlowQuery, parseFlowQuery } from '../../recorder/filter.ts'
import { PodNames } from '../../recorder/names.ts'
import { FlowObservers } from '../../recorder/observer.ts'
import { FlowReader } from '../../recorder/reader.ts'
import { Recorder } from '../../recorder/recorder.ts'
import type { RuntimeContext } from '../context.ts'

export interface RecordingParts extends RuntimeContext {
  readonly config: () => Config
  readonly directory: Directory
  readonly dns: () => SocketAddress | undefined
  readonly route: (cluster: string) => FlowRoute
}

export class Recording {
  /** Undefined with `recorder.size: 0`. */
  readonly recorder: Recorder | undefined
  readonly #observers: FlowObservers | undefined
  readonly #names: PodNames
  readonly #file: FlowFile | undefined

  constructor({ config, directory, dns, route, clock, log, env }: RecordingParts) {
    const { size, rate, dns: questions, file } = config().recorder
    const cluster = () => config().cluster
    this.#names = new PodNames(directory, cluster)
    if (size === 0) return
    const recorder = new Recorder({ size, rate, questions }, clock)
    const names = this.#names
    const reader = new FlowReader({
      recorder,
      clock,
      node: env.NODE_NAME || hostname(),
      cluster,
      client: address => names.ofClient(address),
      backend: (key, address) => names.ofBackend(key, address),
      route,
      dns,
      typeName,
    })
    this.recorder = recorder
    this.#observers = new FlowObservers({ recorder, reader, names, clock })
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
    await this.#file?.close()
  }
}

const everything: FlowQuery = { matches: () => true, last: undefined, sinceMs: undefined, follow: true }
