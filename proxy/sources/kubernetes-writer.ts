/**
 * Writes to the local cluster what Starlane knows of the others, where that is asked for: EndpointSlices of remote endpoints,
 * ServiceImports and the status of exports (MCS API), and Events about annotations that mean nothing. Of several replicas
 * one writes. Nothing is taken back on the word of a cluster that has not spoken yet.
 */
import type { Directory } from '../model/directory.ts'
import type { Problem } from '../model/error.ts'
import { type ClusterService, type ServiceKey, serviceKey } from '../model/service.ts'
import { createKubernetesClient, type KubernetesLogin, type KubernetesWorld } from './kubernetes.ts'
import type { KubernetesClient } from './kubernetes-api/client.ts'
import type { Resource } from './kubernetes-api/resources.ts'
import { Watcher, type WatchState } from './kubernetes-api/watcher.ts'
import type { RawObject } from './kubernetes-api/wire.ts'
import { eventOf, repeatMs } from './kubernetes-write/events.ts'
import {
  importManager,
  type MulticlusterStatus,
  apiVersion as mcsVersion,
  multiclusterOf,
  timed,
} from './kubernetes-write/imports.ts'
import { Lease } from './kubernetes-write/lease.ts'
import { digestOf } from './kubernetes-write/manifest.ts'
import { type Existing, OwnedObjects } from './kubernetes-write/owned.ts'
import { managedByLabel, sliceManager, slicesOf, sourceClusterLabel } from './kubernetes-write/slices.ts'
import { Statuses, type Writing } from './kubernetes-write/statuses.ts'

export interface WriterOptions {
  /** The local cluster's name in the mesh, and the way to its API server. */
  readonly cluster: string
  readonly login: KubernetesLogin
  /** Remote endpoints of Services that ask for it (`service.cilium.io/global-sync-endpoint-slices`). */
  readonly endpointSlices: boolean
  /** ServiceImports and the status of ServiceExports. */
  readonly multicluster: boolean
  readonly events: boolean
  /** Where the lease is: the namespace that Starlane runs in. */
  readonly namespace: string
  /** Of this process, unlike that of every other: the name of the Pod. */
  readonly identity: string
}

/** What the writer asks of the mesh. */
export interface MeshView {
  readonly directory: Directory
  /** What every cluster declares under a name, the local one first, whether or not it takes part. */
  declared(key: ServiceKey): readonly ClusterService[]
  /** Of the configured clusters, those that have never yet said all that they have. */
  silentClusters(): readonly string[]
}

const slices: Resource = {
  kind: 'EndpointSlice',
  apiVersion: 'discovery.k8s.io/v1',
  group: 'discovery.k8s.io',
  plural: 'endpointslices',
  paths: ['/apis/discovery.k8s.io/v1/endpointslices'],
  labelSelector: `${managedByLabel}=${sliceManager}`,
  metadataOnly: true,
}
const imports: Resource = {
  ...multiclusterResource('ServiceImport', 'serviceimports'),
  labelSelector: `${importManager.key}=${importManager.value}`,
}
const exports: Resource = multiclusterResource('ServiceExport', 'serviceexports')
const events: Resource = { kind: 'Event', apiVersion: 'v1', group: '', plural: 'events', paths: ['/api/v1/events'] }

/** What can only be told by looking again: a cluster that has spoken for the first time, with nothing to say. */
const reconsiderMs = 30_000
const maxEvents = 1000

export class KubernetesWriter {
  readonly #options: WriterOptions
  readonly #world: KubernetesWorld
  readonly #mesh: MeshView
  readonly #client: KubernetesClient
  readonly #lease: Lease
  readonly #slices: OwnedObjects
  readonly #imports: OwnedObjects
  readonly #statuses: Statuses
  readonly #exported = new Set<ServiceKey>()
  readonly #stop = new AbortController()
  #told = new Map<string, Writing>()
  #hasApi = true
  #ends: readonly (() => void)[] = []
  #running: Promise<unknown> = Promise.resolve()

  constructor(options: WriterOptions, world: KubernetesWorld, mesh: MeshView) {
    this.#options = options
    this.#world = world
    this.#mesh = mesh
    this.#client = createKubernetesClient(options.login, world)
    const { cluster, namespace, identity } = options
    const { clock, random, log } = world
    const changed = () => this.#reconsider()
    this.#lease = new Lease({ client: this.#client, clock, log, namespace, name: 'starlane-write', identity, changed })
    const common = { client: this.#client, clock, random, log, cluster, leads: () => this.#lease.held }
    this.#slices = new OwnedObjects({ ...common, resource: slices, mayDelete: slice => this.#mayDeleteSlice(slice) })
    this.#imports = new OwnedObjects({ ...common, resource: imports, mayDelete: () => this.#knowsAll() })
    this.#statuses = new Statuses(common)
  }

  start(): void {
    const { directory } = this.#mesh
    const { signal } = this.#stop
    for (const { key } of directory.services()) this.#settle(key)
    this.#ends = [
      directory.onChange(changes => {
        for (const { key } of changes) this.#settle(key)
      }),
      this.#world.clock.every(reconsiderMs, () => this.#reconsider()),
      this.#world.clock.every(repeatMs, () => this.#repeatEvents()),
    ]
    const { endpointSlices, multicluster } = this.#options
    this.#running = Promise.all([
      this.#lease.run(signal),
      this.#statuses.run(signal),
      ...(endpointSlices ? [this.#slices.run(signal)] : []),
      ...(multicluster ? [this.#imports.run(signal), this.#watchExports(signal)] : []),
    ])
  }

  /** All that is wrong with what clusters say, now: what concerns this cluster's own Services becomes Events there. */
  report(problems: readonly Problem[]): void {
    if (!this.#options.events) return
    const told = new Map<string, Writing>()
    for (const problem of problems) {
      const event = eventOf(problem, this.#options.cluster, this.#world.clock.wall())
      if (!event || told.size >= maxEvents) continue
      const { namespace, name } = event.metadata
      const said = problem.message
      told.set(`${namespace}/${name}`, { resource: events, namespace, name, subresource: '', value: event, said })
    }
    for (const [key, { namespace, name }] of this.#told) {
      if (!told.has(key)) this.#statuses.forget(events, namespace, name, '')
    }
    this.#told = told
    for (const writing of told.values()) this.#statuses.write(writing)
  }

  /** Why something cannot be written; empty while all goes well. */
  problems(): Problem[] {
    const failures = [this.#lease.failure, this.#statuses.failure].filter(failure => failure !== undefined)
    const own = failures.map(({ code, message }): Problem => ({ code, where: this.#options.cluster, message }))
    return [...own, ...this.#slices.problems(), ...this.#imports.problems()]
  }

  /** What has been written stays: others may rely on it while Starlane is replaced. */
  async close(): Promise<void> {
    for (const end of this.#ends) end()
    this.#stop.abort()
    await this.#client.close()
    await this.#running
  }

  #settle(key: ServiceKey): void {
    const service = this.#mesh.directory.service(key)
    if (this.#options.endpointSlices) this.#slices.want(key, service ? slicesOf(service) : [])
    if (this.#options.multicluster) this.#settleMulticluster(key)
  }

  #settleMulticluster(key: ServiceKey): void {
    const { directory } = this.#mesh
    const [namespace = '', name = ''] = key.split('/')
    const { manifest, importStatus, exportStatus } = multiclusterOf(namespace, name, {
      declared: this.#mesh.declared(key),
      service: directory.service(key),
      hasNamespace: directory.hasNamespace(namespace),
      exportedHere: this.#exported.has(key),
      localCluster: this.#options.cluster,
    })
    this.#imports.want(key, manifest ? [manifest] : [])
    this.#writeStatus(imports, namespace, name, importStatus)
    this.#writeStatus(exports, namespace, name, exportStatus)
  }

  #writeStatus(resource: Resource, namespace: string, name: string, status: MulticlusterStatus | undefined): void {
    if (!status || !this.#hasApi) return this.#statuses.forget(resource, namespace, name, '/status')
    const { kind, apiVersion } = resource
    const value = { apiVersion, kind, metadata: { namespace, name }, status: timed(status, this.#world.clock.wall()) }
    this.#statuses.write({ resource, namespace, name, subresource: '/status', value, said: digestOf(status) })
  }

  #watchExports(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#world
    const listener = {
      put: ({ metadata: { namespace = '', name } }: RawObject) => {
        this.#exported.add(serviceKey(namespace, name))
        this.#settle(serviceKey(namespace, name))
      },
      drop: (namespace: string, name: string) => {
        this.#exported.delete(serviceKey(namespace, name))
        this.#settle(serviceKey(namespace, name))
      },
      listed: () => {},
      moved: (_: WatchState) => {},
    }
    const options = { client: this.#client, clock, random, log, cluster: this.#options.cluster }
    return new Watcher(exports, listener, options).run(signal)
  }

  #mayDeleteSlice({ labels }: Existing): boolean {
    const silent = this.#mesh.silentClusters()
    return this.#mesh.directory.synced && !silent.includes(String(labels[sourceClusterLabel]))
  }

  /** An import may come from any of the clusters. */
  #knowsAll(): boolean {
    return this.#mesh.directory.synced && this.#mesh.silentClusters().length === 0
  }

  #reconsider(): void {
    if (this.#hasApi === this.#imports.isAbsent) this.#apiMoved()
    this.#slices.reconsider()
    this.#imports.reconsider()
    this.#statuses.resume()
  }

  /** The Multi-Cluster Services API has been installed or removed. */
  #apiMoved(): void {
    this.#hasApi = !this.#imports.isAbsent
    for (const { key } of this.#mesh.directory.services()) this.#settleMulticluster(key)
  }

  #repeatEvents(): void {
    for (const { namespace, name, value, ...rest } of this.#told.values()) {
      this.#statuses.forget(events, namespace, name, '')
      const lastTimestamp = new Date(this.#world.clock.wall()).toISOString().replace(/\.\d+Z$/, 'Z')
      this.#statuses.write({ ...rest, namespace, name, value: { ...(value as object), lastTimestamp } })
    }
  }
}

function multiclusterResource(kind: string, plural: string): Resource {
  const [group = ''] = mcsVersion.split('/')
  return {
    kind,
    apiVersion: mcsVersion,
    group,
    plural,
    paths: [`/apis/${mcsVersion}/${plural}`],
    optional: true,
    metadataOnly: true,
  }
}
