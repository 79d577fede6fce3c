/** What is known of addresses in flows: the pods behind endpoints. */
import { type Backends, clusterOfKey } from '../model/backend.ts'
import type { Change, Directory } from '../model/directory.ts'
import type { FlowEndpoint } from '../model/flow-record.ts'
import type { GlobalService } from '../model/service.ts'

/** Names of pods that are gone are kept, for the flows that they had, until so many times the living ones are known. */
const keptPart = 2
const keptLeast = 10_000

/**
 * Pods by cluster and address, as the endpoints of services name them. Nothing is kept before somebody reads flows; after that it
 * follows the directory.
 */
export class PodNames {
  readonly #directory: Directory
  readonly #local: () => string
  readonly #pods = new Map<string, FlowEndpoint>()
  #unwatch: (() => void) | undefined
  #living = 0

  /** `local`: the name of the cluster that clients are in. */
  constructor(directory: Directory, local: () => string) {
    this.#directory = directory
    this.#local = local
  }

  /** A client's address; clients are in the local cluster. */
  ofClient(address: string): FlowEndpoint | undefined {
    this.#watch()
    return this.#pods.get(`${this.#local()}/${address}`)
  }

  ofBackend(key: string, address: string): FlowEndpoint | undefined {
    this.#watch()
    return this.#pods.get(`${clusterOfKey(key)}/${address}`)
  }

  close(): void {
    this.#unwatch?.()
  }

  #watch(): void {
    if (this.#unwatch) return
    this.#unwatch = this.#directory.onChange(change => this.#changed(change))
    this.#readAll()
  }

  #readAll(): void {
    this.#pods.clear()
    for (const service of this.#directory.services()) this.#read(service, service.backends)
    this.#living = this.#pods.size
  }

  #changed(change: Change): void {
    for (const { after, backends } of change) if (after) this.#read(after, backends.come)
    if (this.#pods.size > Math.max(keptLeast, keptPart * this.#living)) this.#readAll()
  }

  #read(service: GlobalService, backends: Backends): void {
    for (const { cluster, address, pod } of backends) {
      if (pod === undefined) continue
      const key = `${cluster}/${address}`
      if (this.#pods.get(key)?.pod_name === pod) continue
      this.#pods.set(key, { cluster_name: cluster, namespace: service.namespace, pod_name: pod })
    }
  }
}
