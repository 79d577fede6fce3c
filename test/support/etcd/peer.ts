/** Writes a cluster's records into etcd, as its clustermesh-apiserver would. */
import {
  canaryKey,
  clusterConfigKey,
  heartbeatKey,
  prefixOf,
  type Resource,
} from '../../../proxy/clients/clustermesh.ts'
import type { EtcdClient, Write } from '../../../proxy/clients/etcd/client.ts'
import { configValue, serviceValue, sliceValue } from './cilium.ts'

export class Peer {
  readonly name: string
  readonly id: number
  #client: EtcdClient
  #cached: boolean

  constructor(client: EtcdClient, name = 'east', id = 7, cached = false) {
    this.#client = client
    this.name = name
    this.id = id
    this.#cached = cached
  }

  /** The heartbeat, the cluster-config and the canary. */
  async announce(capabilities: Readonly<Record<string, unknown>> = {}): Promise<void> {
    await this.beat()
    await this.configure(capabilities)
    await this.complete()
  }

  async beat(): Promise<void> {
    await this.put({ [heartbeatKey]: Buffer.from(new Date().toISOString()) })
  }

  async configure(capabilities: Readonly<Record<string, unknown>> = {}, id = this.id): Promise<void> {
    await this.put({ [clusterConfigKey(this.name)]: configValue(id, { cached: this.#cached, ...capabilities }) })
  }

  async complete(...resources: Resource[]): Promise<void> {
    const all = resources.length > 0 ? resources : (['services', 'endpointslices'] as const)
    for (const resource of all) await this.put({ [canaryKey(resource, this.name, this.#cached)]: Buffer.from('now') })
  }

  key(resource: Resource, suffix: string): string {
    return `${prefixOf(resource, this.name, this.#cached)}${suffix}`
  }

  /** A valid service record: `shop/cart` of the fixtures with changes. */
  service(suffix: string, changes: Readonly<Record<string, unknown>> = {}): Record<string, Buffer> {
    const [namespace = '', name = ''] = suffix.split('/')
    const value = serviceValue({ cluster: this.name, clusterID: this.id, namespace, name, ...changes })
    return { [this.key('services', suffix)]: value }
  }

  slice(suffix: string, changes: Parameters<typeof sliceValue>[0] = {}): Record<string, Buffer> {
    const [namespace = '', name = ''] = suffix.split('/')
    const value = sliceValue({ cluster: this.name, clusterId: this.id, namespace, name, ...changes })
    return { [this.key('endpointslices', suffix)]: value }
  }

  serviceExport(suffix: string, changes: Readonly<Record<string, unknown>> = {}): Record<string, Buffer> {
    const [namespace = '', name = ''] = suffix.split('/')
    const ports = [{ name: 'http', protocol: 'TCP', port: 80 }]
    const record = { cluster: this.name, namespace, name, type: 'ClusterSetIP', ports, ...changes }
    return { [this.key('serviceexports', suffix)]: Buffer.from(JSON.stringify(record)) }
  }

  node(name: string, zone: string): Record<string, Buffer> {
    const record = {
      Name: name,
      Cluster: this.name,
      ClusterID: this.id,
      Labels: { 'topology.kubernetes.io/zone': zone },
    }
    return { [this.key('nodes', name)]: Buffer.from(JSON.stringify(record)) }
  }

  /** The address of a Pod, and its identity by labels. */
  pod(address: string, pod: string, id: number, labels: Readonly<Record<string, string>>): Record<string, Buffer> {
    const [namespace = '', name = ''] = pod.split('/')
    const record = {
      ...{ IP: address, Mask: null, HostIP: '172.20.0.12', ID: id, Key: 0, Metadata: '' },
      ...{ K8sNamespace: namespace, K8sPodName: name, NamedPorts: [{ Name: 'http', Port: 8080, Protocol: 'TCP' }] },
    }
    return { [this.key('ip', address)]: Buffer.from(JSON.stringify(record)), ...this.identity(id, namespace, labels) }
  }

  identity(id: number, namespace: string, labels: Readonly<Record<string, string>>): Record<string, Buffer> {
    const all = {
      ...labels,
      'io.cilium.k8s.policy.cluster': this.name,
      'io.kubernetes.pod.namespace': namespace,
      'io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name': namespace,
      'io.cilium.k8s.policy.serviceaccount': 'default',
    }
    const text = Object.entries(all).map(([key, value]) => `k8s:${key}=${value};`)
    return { [this.key('identities', String(id))]: Buffer.from(text.sort().join('')) }
  }

  async put(...records: Readonly<Record<string, Buffer>>[]): Promise<void> {
    const writes = records.flatMap(record => Object.entries(record).map(([key, value]): Write => ({ key, value })))
    for (let at = 0; at < writes.length; at += 100) await this.#client.write(writes.slice(at, at + 100), 0n)
  }

  async drop(...keys: string[]): Promise<void> {
    for (const key of keys) await this.#client.write([{ key, gone: true }], 0n)
  }
}
