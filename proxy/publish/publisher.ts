import { randomUUID } from 'node:crypto'
import type { Clock, Random } from '../model/clock.ts'
import { MeshError, messageOf, type Problem } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import { type ClusterService, type ServiceKey, serviceKey } from '../model/service.ts'
import { recordsOf } from './encode-cilium.ts'
import { Ledger } from './ledger.ts'
import type { Store } from './store.ts'
import { Tenure } from './tenure.ts'

export interface PublisherOptions {
  /** The local cluster, as the mesh knows it. */
  readonly cluster: string
  readonly clusterId: number
  /** Also as endpoint slices (Cilium 1.20), which carry conditions, nodes and weights. */
  readonly slices: boolean
  /** How long everything stays when no publisher is left; Cilium's is 15 minutes. */
  readonly leaseMs: number
  /** Requests to etcd in a second at most, each with up to 100 keys. */
  readonly writesPerSecond: number
  /** How long a publisher that has fallen silent keeps the others waiting; 25 s. */
  readonly lockMs?: number
}

export interface PublisherParts {
  /** A connection to the etcd of the mesh. Rejects with the reason in words. */
  readonly open: (signal: AbortSignal) => Promise<Store>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** `standby`: another publisher of the same cluster is at work. Times are wall-clock milliseconds. */
export type PublisherState = Standing & { readonly since: number; readonly services: number; readonly pending: number }

type Standing =
  | { readonly state: 'connecting' | 'standby' | 'publishing' }
  | { readonly state: 'lost'; readonly error: MeshError }

/** Writes the local cluster's shared global services into the etcd of a ClusterMesh: the part of clustermesh-apiserver. */
export interface Publisher {
  start(): void
  /** All services that the other clusters may have; whatever else stands there of this cluster is deleted. */
  reset(services: readonly ClusterService[]): void
  /** A service that is global, shared and in a global namespace. */
  put(service: ClusterService): void
  /** It is no longer all of that: its keys are deleted. */
  drop(namespace: string, name: string): void
  state(): PublisherState
  problems(): readonly Problem[]
  /** Makes room for another publisher. What is written stays for it, until the lease runs out. */
  close(): Promise<void>
}

const firstRetryMs = 1000
const longestRetryMs = 30_000
/** etcd refuses requests of 1.5 MiB (`--max-request-bytes`). */
const maxValueBytes = 1.4 * 1024 * 1024

export function createPublisher(options: PublisherOptions, parts: PublisherParts): Publisher {
  return new EtcdPublisher(options, parts)
}

class EtcdPublisher implements Publisher {
  #options: PublisherOptions
  #parts: PublisherParts
  #ledger = new Ledger()
  #keys = new Map<ServiceKey, readonly string[]>()
  #tooLarge = new Map<ServiceKey, Problem>()
  #holder = randomUUID()
  #closing = new AbortController()
  #tenure: Tenure | undefined
  #running: Promise<void> = Promise.resolve()
  #failures = 0
  #standing: Standing = { state: 'connecting' }
  #since: number
  #stopRetry: () => void = () => {}

  constructor(options: PublisherOptions, parts: PublisherParts) {
    this.#options = options
    this.#parts = parts
    this.#since = parts.clock.wall()
  }

  start(): void {
    this.#running = this.#publish()
  }

  reset(services: readonly ClusterService[]): void {
    const gone = new Set(this.#keys.keys())
    for (const service of services) {
      gone.delete(serviceKey(service.namespace, service.name))
      this.#want(service)
    }
    for (const key of gone) this.#unwant(key)
    this.#ledger.complete()
    this.#tenure?.wake()
  }

  put(service: ClusterService): void {
    this.#want(service)
    this.#tenure?.wake()
  }

  drop(namespace: string, name: string): void {
    this.#unwant(serviceKey(namespace, name))
    this.#tenure?.wake()
  }

  state(): PublisherState {
    return { ...this.#standing, since: this.#since, services: this.#keys.size, pending: this.#ledger.pending }
  }

  problems(): readonly Problem[] {
    return [...this.#tooLarge.values()]
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#stopRetry()
    await this.#tenure?.resign()
    await this.#running
  }

  #want(service: ClusterService): void {
    const key = serviceKey(service.namespace, service.name)
    const records = recordsOf(service, this.#options)
    this.#tooLarge.delete(key)
    for (const [record, { length }] of records) {
      if (length <= maxValueBytes) continue
      records.delete(record)
      const message = `makes a record of ${length} bytes and etcd takes 1.5 MiB; split the service`
      this.#tooLarge.set(key, { code: 'PUBLISH', where: record, message })
    }
    for (const old of this.#keys.get(key) ?? []) if (!records.has(old)) this.#ledger.unwant(old)
    for (const [record, value] of records) this.#ledger.want(record, value)
    this.#keys.set(key, [...records.keys()])
  }

  #unwant(key: ServiceKey): void {
    for (const record of this.#keys.get(key) ?? []) this.#ledger.unwant(record)
    this.#keys.delete(key)
    this.#tooLarge.delete(key)
  }

  async #publish(): Promise<void> {
    const { open, clock, log } = this.#parts
    const { signal } = this.#closing
    try {
      const store = await open(signal)
      if (signal.aborted) return store.close()
      this.#tenure = new Tenure(store, {
        ...this.#options,
        ledger: this.#ledger,
        holder: this.#holder,
        lockMs: this.#options.lockMs ?? 25_000,
        paceMs: 1000 / this.#options.writesPerSecond,
        clock,
        became: state => this.#became(state),
      })
      await this.#tenure.run()
    } catch (error) {
      this.#tenure = undefined
      if (signal.aborted) return
      const why = new MeshError('PUBLISH', `${this.#options.cluster} is not published: ${messageOf(error)}`, {
        cause: error,
      })
      if (this.#standing.state !== 'lost') log.warn('publish.lost', { why: why.message })
      this.#set({ state: 'lost', error: why })
      this.#retry()
    }
  }

  #retry(): void {
    const { clock, random } = this.#parts
    const longest = Math.min(longestRetryMs, firstRetryMs * 2 ** this.#failures++)
    this.#stopRetry = clock.after(longest * (0.5 + random() / 2), () => this.start())
  }

  #became(state: 'standby' | 'publishing'): void {
    this.#failures = 0
    if (this.#standing.state === state) return
    this.#parts.log.info(`publish.${state}`, { cluster: this.#options.cluster })
    this.#set({ state })
  }

  #set(standing: Standing): void {
    if (standing.state !== this.#standing.state) this.#since = this.#parts.clock.wall()
    this.#standing = standing
  }
}
