/**
 * Writes to the local cluster what Starlane knows of the others, where that is asked for: EndpointSlices of remote endpoints,
 * ServiceImports and the status of exports (MCS API), and Events about annotations that mean nothing. Of several replicas
 * one writes. Nothing is taken back on the word of a cluster that has not spoken yet.
 */

import type { KubernetesClient } from '../clients/kubernetes/client.ts'
import { createKubernetesClient, type KubernetesLogin, type KubernetesWorld } from '../clients/kubernetes/connect.ts'
import type { Resource } from '../clients/kubernetes/resources.ts'
import { Watcher, type WatchState } from '../clients/kubernetes/watcher.ts'
import type { RawObject } from '../clients/kubernetes/wire.ts'
import type { Directory } from '../model/directory.ts'
import type { Problem } from '../model/error.ts'
import { derivedServiceName } from '../model/multicluster.ts'
import { type GlobalService, type ServiceKey, serviceKey } from '../model/service.ts'
import { eventOf, repeatMs } from './events.ts'
import {
  changesForm,
  derivedLabel,
  importManager,
  type MulticlusterStatus,
  multiclusterOf,
  says,
  timed,
} from './imports.ts'
import { Lease } from './lease.ts'
import { digestOf } from './manifest.ts'
import { type Existing, OwnedObjects } from './owned-objects.ts'
import { managedByLabel, sliceManager, slicesOf, sourceClusterLabel } from './slices.ts'
import { Statuses, type Writing } from './statuses.ts'

export interface WriterOptions {
  /** The local cluster's name in the mesh, and the way to its API server. */
  readonly cluster: string
  readonly login: KubernetesLogin
  /** Remote endpoints of Services that ask for it (`service.cilium.io/global-sync-endpoint-slices`). */
  readonly endpointSlices: boolean
  /** ServiceImports and the status of ServiceExports. */
  readonly multicluster: boolean
  /** With `multicluster`, a Service for each import, whose ClusterIP is the import's address. */
  readonly derivedServices: boolean
  readonly events: boolean
  /** Where the lease is: the namespace that Starlane runs in. */
  readonly namespace: string
  /** Of this process, unlike that of every other: the name of the Pod. */
  readonly identity: string
}

/** What the writer asks of the mesh. */
export interface MeshView {
  readonly directory: Directory
  /** The export gate of the local cluster's namespaces. */
  isGlobalNamespace(name: string): boolean
  /** Of the configured clusters, those that have never yet said all that they have. */
  unsyncedClusters(): readonly string[]
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
const derivedServices: Resource = {
  kind: 'Service',
  apiVersion: 'v1',
  group: '',
  plural: 'services',
  paths: ['/api/v1/services'],
  labelSelector: `${derivedLabel}=true`,
  metadataOnly: true,
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
  readonly #derived: OwnedObjects
  readonly #statuses: Statuses
  /** The exports of the local cluster, with the status that each has. */
  readonly #exported = new Map<ServiceKey, unknown>()
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
    const mayDelete = () => this.#knowsAll()
    const moved = (key: ServiceKey) => this.#settleMulticluster(key)
    this.#imports = new OwnedObjects({ ...common, resource: imports, mayDelete, moved })
    this.#derived = new OwnedObjects({ ...common, resource: derivedServices, mayDelete, replaces: changesForm })
    this.#statuses = new Statuses(common)
  }

  start(): void {
    const { directory } = this.#mesh
    const { signal } = this.#stop
    for (const { key } of directory.services()) this.#settle(key)
    this.#ends = [
      directory.onChange(changes => {
        for (const { key, before, after } of changes) this.#settle(key, after ?? before)
      }),
      this.#world.clock.every(reconsiderMs, () => this.#reconsider()),
      this.#world.clock.every(repeatMs, () => this.#repeatEvents()),
    ]
    const { endpointSlices, multicluster } = this.#options
    this.#running = Promise.all([
      this.#lease.run(signal),
      this.#statuses.run(signal),
      ...(endpointSlices ? [this.#slices.run(signal)] : []),
      // Derived Services of a former configuration are taken back, so that these are watched in any case.
      ...(multicluster ? [this.#imports.run(signal), this.#derived.run(signal), this.#watchExports(signal)] : []),
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
    return [...own, ...[this.#slices, this.#imports, this.#derived].flatMap(objects => objects.problems())]
  }

  /** What has been written stays: others may rely on it while Starlane is replaced. */
  async close(): Promise<void> {
    for (const end of this.#ends) end()
    this.#stop.abort()
    await this.#client.close()
    await this.#running
  }

  /** `known`: what the service is, or was. */
  #settle(key: ServiceKey, known = this.#mesh.directory.service(key)): void {
    const service = this.#mesh.directory.service(key)
    if (this.#options.endpointSlices) this.#slices.want(key, service ? slicesOf(service) : [])
    if (!this.#options.multicluster) return
    this.#settleMulticluster(key)
    // The import of what it was derived for has its address.
    const origin = originOf(known)
    if (origin !== undefined) this.#settleMulticluster(origin)
  }

  #settleMulticluster(key: ServiceKey): void {
    const { directory } = this.#mesh
    const [namespace = '', name = ''] = key.split('/')
    const existing = this.#imports.existing(key)
    const { imported, derived, importStatus, exportStatus } = multiclusterOf(namespace, name, {
      service: directory.service(key),
      derived: directory.service(serviceKey(namespace, derivedServiceName(namespace, name))),
      derives: this.#options.derivedServices,
      hasNamespace: directory.hasNamespace(namespace),
      mayExport: this.#mesh.isGlobalNamespace(namespace),
      exportedHere: this.#exported.has(key),
      localCluster: this.#options.cluster,
      parent: existing && { apiVersion: this.#imports.apiVersion, uid: existing.uid },
    })
    this.#imports.want(key, imported ? [imported] : [])
    this.#derived.want(key, derived ? [derived] : [])
    this.#writeStatus(imports, key, importStatus, existing?.status)
    this.#writeStatus(exports, key, exportStatus, this.#exported.get(key))
  }

  /** `known` is the status that the object has; undefined also while nobody has seen it. */
  #writeStatus(resource: Resource, key: ServiceKey, status: MulticlusterStatus | undefined, known: unknown): void {
    const [namespace = '', name = ''] = key.split('/')
    if (!status || !this.#hasApi) return this.#statuses.forget(resource, namespace, name, '/status')
    const { kind, plural } = resource
    const { apiVersion } = this.#imports
    const served = { ...resource, apiVersion, paths: [`/apis/${apiVersion}/${plural}`] }
    const wallMs = this.#world.clock.wall()
    const value = { apiVersion, kind, metadata: { namespace, name }, status: timed(status, known, wallMs) }
    const writing = { resource: served, namespace, name, subresource: '/status', value, said: digestOf(status) }
    if (says(known, status)) return this.#statuses.stands(writing)
    // Made anew, or somebody has emptied it. What another has written into it instead is not fought over.
    if (known === undefined) this.#statuses.forget(resource, namespace, name, '/status')
    this.#statuses.write(writing)
  }

  #watchExports(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#world
    const listener = {
      put: ({ metadata: { namespace = '', name }, status }: RawObject) => {
        this.#exported.set(serviceKey(namespace, name), status)
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
    const silent = this.#mesh.unsyncedClusters()
    return this.#mesh.directory.synced && !silent.includes(String(labels[sourceClusterLabel]))
  }

  /** An import may come from any of the clusters. */
  #knowsAll(): boolean {
    return this.#mesh.directory.synced && this.#mesh.unsyncedClusters().length === 0
  }

  #reconsider(): void {
    if (this.#hasApi === this.#imports.isAbsent) this.#apiMoved()
    this.#slices.reconsider()
    this.#imports.reconsider()
    this.#derived.reconsider()
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

/** The service that a derived one was made for. */
function originOf(service: GlobalService | undefined): ServiceKey | undefined {
  const local = service?.local
  return local?.derivedFrom === undefined ? undefined : serviceKey(local.namespace, local.derivedFrom)
}

function multiclusterResource(kind: string, plural: string): Resource {
  const group = 'multicluster.x-k8s.io'
  return {
    kind,
    apiVersion: `${group}/v1beta1`,
    group,
    plural,
    paths: ['v1beta1', 'v1alpha1'].map(version => `/apis/${group}/${version}/${plural}`),
    optional: true,
  }
}
