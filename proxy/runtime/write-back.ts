/** Write-back to the local cluster's API, as the configuration asks; with nothing asked, it does nothing. */
import { hostname } from 'node:os'
import type { Config } from '../config/schema.ts'
import type { Mesh } from '../mesh/mesh.ts'
import type { Problem } from '../model/error.ts'
import { KubernetesWriter } from '../writeback/writer.ts'
import type { RuntimeContext } from './context.ts'

/** How often problems are reported as Events. */
const reportMs = 5000

export class WriteBack {
  readonly #mesh: Mesh
  readonly #clock: RuntimeContext['clock']
  readonly #writer: KubernetesWriter | undefined
  #stopReports: () => void = () => {}

  constructor(config: Config, mesh: Mesh, parts: RuntimeContext) {
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

  /** What cannot be written. */
  problems(): Problem[] {
    return this.#writer?.problems() ?? []
  }

  async close(): Promise<void> {
    this.#stopReports()
    await this.#writer?.close()
  }
}
