import { hostname } from 'node:os'
import type { Config } from '../config/schema.ts'
import type { Mesh } from '../mesh/mesh.ts'
import type { Problem } from '../model/error.ts'
import { KubernetesWriter } from '../writeback/writer.ts'
import type { FeedParts } from './feeds.ts'

/** How long a bad annotation may stand before an Event says so. */
const reportMs = 5000

/** Writes to the local cluster's API what the configuration asks for; with nothing asked, it does nothing. */
export class WriteBack {
  readonly #mesh: Mesh
  readonly #clock: FeedParts['clock']
  readonly #writer: KubernetesWriter | undefined
  #stopReports: () => void = () => {}

  constructor(config: Config, mesh: Mesh, parts: FeedParts) {
    this.#mesh = mesh
    this.#clock = parts.clock
    const { endpointSlices, serviceImports, derivedServices, events, namespace } = config.writeBack
    const source = config.clusters.find(({ name }) => name === config.cluster)?.source
    if (!(endpointSlices || serviceImports || events) || !source || !('kubernetes' in source)) return
    const identity = parts.env.POD_NAME || `${hostname()}-${process.pid}`
    const options = { endpointSlices, multicluster: serviceImports, derivedServices, events, namespace, identity }
    this.#writer = new KubernetesWriter({ cluster: config.cluster, login: source.kubernetes, ...options }, parts, mesh)
  }

  start(): void {
    if (!this.#writer) return
    this.#writer.start()
    this.#stopReports = this.#clock.every(reportMs, () => this.#writer?.report(this.#mesh.problems()))
  }

  /** What cannot be written, and why. */
  problems(): Problem[] {
    return this.#writer?.problems() ?? []
  }

  async close(): Promise<void> {
    this.#stopReports()
    await this.#writer?.close()
  }
}
