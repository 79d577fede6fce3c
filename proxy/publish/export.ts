import { prefixOf } from '../clients/clustermesh.ts'
import type { Problem } from '../model/error.ts'
import { type ClusterService, type ServiceKey, serviceKey } from '../model/service.ts'
import { Volume } from './cluster-keys.ts'
import { clusterConfigValue, nodeRecord, type Publishing, recordsOf } from './encode-cilium.ts'

/** etcd refuses requests of 1.5 MiB (`--max-request-bytes`). */
export const maxValueBytes = 1.4 * 1024 * 1024

/** The local cluster as one circle of readers gets to see it: all of it, or what one tenant may have. */
export class Edition {
  readonly volume: Volume
  #publishing: Publishing
  #admits: (service: ClusterService) => boolean
  #keys = new Map<ServiceKey, readonly string[]>()
  /** Nodes that run an endpoint of a service, with their zone, by service. */
  #nodes = new Map<ServiceKey, ReadonlyMap<string, string | undefined>>()
  #usage = new Map<string, { readonly users: number; readonly zone: string | undefined }>()
  #tooLarge = new Map<ServiceKey, Problem>()

  constructor(publishing: Publishing, admits: (service: ClusterService) => boolean = () => true) {
    this.#publishing = publishing
    this.#admits = admits
    this.volume = new Volume(publishing.cluster, publishing.cached ? 'view' : 'own')
    this.volume.describe(clusterConfigValue(publishing))
    // Only agents of Cilium have these: there are none, and that is the whole truth.
    for (const resource of ['identities', 'ip'] as const) this.volume.ledger(resource).complete()
  }

  get services(): number {
    return this.#keys.size
  }

  get problems(): Iterable<Problem> {
    return this.#tooLarge.values()
  }

  reset(services: readonly ClusterService[]): void {
    const gone = new Set(this.#keys.keys())
    for (const service of services) {
      gone.delete(serviceKey(service.namespace, service.name))
      this.want(service)
    }
    for (const key of gone) this.unwant(key)
    for (const resource of ['services', 'endpointslices', 'serviceexports', 'nodes'] as const) {
      this.volume.ledger(resource).complete()
    }
  }

  want(service: ClusterService): void {
    const key = serviceKey(service.namespace, service.name)
    if (!this.#admits(service)) return this.unwant(key)
    const records = recordsOf(service, this.#publishing)
    this.#tooLarge.delete(key)
    for (const [record, { length }] of records) {
      if (length <= maxValueBytes) continue
      records.delete(record)
      const message = `makes a record of ${length} bytes and etcd takes 1.5 MiB; split the service`
      this.#tooLarge.set(key, { code: 'PUBLISH', where: record, message })
    }
    for (const old of this.#keys.get(key) ?? []) if (!records.has(old)) this.#ledgerOf(old).unwant(old)
    for (const [record, value] of records) this.#ledgerOf(record).want(record, value)
    this.#keys.set(key, [...records.keys()])
    this.#setNodes(key, new Map(service.endpoints.flatMap(({ node, zone }) => (node ? [[node, zone]] : []))))
  }

  unwant(key: ServiceKey): void {
    for (const record of this.#keys.get(key) ?? []) this.#ledgerOf(record).unwant(record)
    this.#keys.delete(key)
    this.#tooLarge.delete(key)
    this.#setNodes(key, new Map())
  }

  #setNodes(key: ServiceKey, nodes: ReadonlyMap<string, string | undefined>): void {
    const before = this.#nodes.get(key) ?? new Map<string, string | undefined>()
    if (nodes.size > 0) this.#nodes.set(key, nodes)
    else this.#nodes.delete(key)
    for (const [node, zone] of nodes) this.#use(node, before.has(node) ? 0 : 1, zone)
    for (const node of before.keys()) if (!nodes.has(node)) this.#use(node, -1, undefined)
  }

  /** The zone that was last heard of counts: services agree on it, unless it is just changing. */
  #use(node: string, more: number, zone: string | undefined): void {
    const before = this.#usage.get(node)
    const after = { users: (before?.users ?? 0) + more, zone: zone ?? before?.zone }
    const { cluster, cached } = this.#publishing
    const key = `${prefixOf('nodes', cluster, cached)}${node}`
    if (after.users === 0) {
      this.#usage.delete(node)
      return this.volume.ledger('nodes').unwant(key)
    }
    this.#usage.set(node, after)
    if (before && before.zone === after.zone) return
    this.volume.ledger('nodes').want(key, nodeRecord(node, after.zone, this.#publishing))
  }

  #ledgerOf(record: string) {
    const resource = (['services', 'endpointslices', 'serviceexports'] as const).find(each =>
      record.startsWith(this.volume.prefix(each)),
    )
    return this.volume.ledger(resource ?? 'services')
  }
}
