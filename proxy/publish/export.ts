/** The local cluster as one set of readers sees it: all shared services, or those that one tenant may read. */
import { prefixOf } from '../clients/clustermesh.ts'
import type { Problem } from '../model/error.ts'
import { type ClusterService, type ServiceKey, serviceKey } from '../model/service.ts'
import { ClusterKeys } from './cluster-keys.ts'
import { clusterConfigValue, type ExportOptions, nodeRecord, type Place, recordsOf } from './encode-cilium.ts'

/** etcd refuses requests of 1.5 MiB (`--max-request-bytes`). */
export const maxValueBytes = 1.4 * 1024 * 1024

export class Export {
  readonly keys: ClusterKeys
  #options: ExportOptions
  #admits: (service: ClusterService) => boolean
  #recordKeys = new Map<ServiceKey, readonly string[]>()
  /** By service, the nodes that run an endpoint of it, with their zone. */
  #nodes = new Map<ServiceKey, ReadonlyMap<string, Place>>()
  #usage = new Map<string, Place & { readonly users: number }>()
  #tooLarge = new Map<ServiceKey, Problem>()

  constructor(options: ExportOptions, admits: (service: ClusterService) => boolean = () => true) {
    this.#options = options
    this.#admits = admits
    this.keys = new ClusterKeys(options.cluster, options.cached ? 'view' : 'own')
    if (!options.awaitGateways) this.keys.setConfig(clusterConfigValue(options))
    // Only Cilium agents write these: their list is complete, and empty.
    for (const resource of ['identities', 'ip'] as const) this.keys.desired(resource).complete()
  }

  get services(): number {
    return this.#recordKeys.size
  }

  get problems(): Iterable<Problem> {
    return this.#tooLarge.values()
  }

  setGateways(gateways: readonly string[]): void {
    this.#options = { ...this.#options, gateways }
    this.keys.setConfig(clusterConfigValue(this.#options))
  }

  reset(services: readonly ClusterService[]): void {
    const gone = new Set(this.#recordKeys.keys())
    for (const service of services) {
      gone.delete(serviceKey(service.namespace, service.name))
      this.set(service)
    }
    for (const key of gone) this.delete(key)
    for (const resource of ['services', 'endpointslices', 'serviceexports', 'nodes'] as const) {
      this.keys.desired(resource).complete()
    }
  }

  set(service: ClusterService): void {
    const key = serviceKey(service.namespace, service.name)
    if (!this.#admits(service)) return this.delete(key)
    const records = recordsOf(service, this.#options)
    this.#tooLarge.delete(key)
    for (const [record, { length }] of records) {
      if (length <= maxValueBytes) continue
      records.delete(record)
      const message = `makes a record of ${length} bytes and etcd takes 1.5 MiB; split the service`
      this.#tooLarge.set(key, { code: 'PUBLISH', where: record, message })
    }
    for (const old of this.#recordKeys.get(key) ?? []) if (!records.has(old)) this.#desiredOf(old).delete(old)
    for (const [record, value] of records) this.#desiredOf(record).set(record, value)
    this.#recordKeys.set(key, [...records.keys()])
    this.#setNodes(
      key,
      new Map(service.endpoints.flatMap(({ node, zone, region }) => (node ? [[node, { zone, region }]] : []))),
    )
  }

  delete(key: ServiceKey): void {
    for (const record of this.#recordKeys.get(key) ?? []) this.#desiredOf(record).delete(record)
    this.#recordKeys.delete(key)
    this.#tooLarge.delete(key)
    this.#setNodes(key, new Map())
  }

  #setNodes(key: ServiceKey, nodes: ReadonlyMap<string, Place>): void {
    const before = this.#nodes.get(key) ?? new Map<string, Place>()
    if (nodes.size > 0) this.#nodes.set(key, nodes)
    else this.#nodes.delete(key)
    for (const [node, place] of nodes) this.#use(node, before.has(node) ? 0 : 1, place)
    for (const node of before.keys()) if (!nodes.has(node)) this.#use(node, -1, {})
  }

  /** The last reported place counts: services agree on it, unless it is just changing. */
  #use(node: string, more: number, { zone, region }: Place): void {
    const before = this.#usage.get(node)
    const after = { users: (before?.users ?? 0) + more, zone: zone ?? before?.zone, region: region ?? before?.region }
    const { cluster, cached } = this.#options
    const key = `${prefixOf('nodes', cluster, cached)}${node}`
    if (after.users === 0) {
      this.#usage.delete(node)
      return this.keys.desired('nodes').delete(key)
    }
    this.#usage.set(node, after)
    if (before && before.zone === after.zone && before.region === after.region) return
    this.keys.desired('nodes').set(key, nodeRecord(node, after, this.#options))
  }

  #desiredOf(record: string) {
    const resource = (['services', 'endpointslices', 'serviceexports'] as const).find(each =>
      record.startsWith(this.keys.prefix(each)),
    )
    return this.keys.desired(resource ?? 'services')
  }
}
