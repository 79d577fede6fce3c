/**
 * Writes to the local cluster, as configured: EndpointSlices of remote endpoints, ServiceImports and statuses of exports (MCS
 * API), and Events about bad annotations. Of several replicas the leader writes. Nothing of a cluster is deleted before that
 * cluster has synced.
 */

import type { KubernetesClient } from '../clients/kubernetes/client.ts'
import { createKubernetesClient, type KubernetesLogin, type KubernetesWorld } from '../clients/kubernetes/connect.ts'
import type { Resource } from '../clients/kubernetes/resources.ts'
import { Watcher, type WatchState } from '../clients/kubernetes/watcher.ts'
import type { ApiObject } from '../clients/kubernetes/wire.ts'
import type { Directory } from '../model/directory.ts'
import type { Problem } from '../model/error.ts'
import { derivedServiceName } from '../model/multicluster.ts'
import { type GlobalService, type ServiceKey, serviceKey } from '../model/service.ts'
import { eventOf, repeatMs } from './events.ts'
import {
  changesHeadless,
  derivedLabel,
  importManager,
  type MulticlusterStatus,
  multiclusterOf,
  sameStatus,
  withTransitionTimes,
} from './imports.ts'
import { Lease } from './lease.ts'
import { digestOf } from './manifest.ts'
import { type Existing, OwnedObjects } from './owned-objects.ts'
import { managedByLabel, sliceManager, slicesOf, sourceClusterLabel } from './slices.ts'
import { type PendingWrite, StatusWriter } from './statuses.ts'

export interface WriterOptions {
  /** The local cluster's name in the mesh. */
  readonly cluster: string
  /** How to reach its API server. */
  readonly login: KubernetesLogin
  /** Write remote endpoints of Services that ask for it (`service.cilium.io/global-sync-endpoint-slices`). */
  readonly endpointSlices: boolean
  /** Write ServiceImports and the status of ServiceExports. */
  readonly multicluster: boolean
  /** With `multicluster`: a Service for each import, whose ClusterIP is the address of the import. */
  readonly derivedServices: boolean
  readonly events: boolean
  /** The namespace of the lease: the one that Starlane runs in. */
  readonly namespace: string
  /** Unique to this process: the name of the Pod. */
  readonly identity: string
}

/** What the writer needs from the mesh. */
export interface MeshView {
  readonly directory: Directory
  /** Whether services of a local namespace may be exported. */
  isGlobalNamespace(name: string): boolean
  /** Of the configured clusters, those whose first full list has not arrived yet. */
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

/** A cluster without services syncs without a change of the directory, so deletions are checked again periodically. */
const requeueMs = 30_000
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
  readonly #statuses: StatusWriter
  /** The ServiceExports of the local cluster, with their current status. */
  readonly #exported = new Map<ServiceKey, unknown>()
  readonly #stop = new AbortController()
  #reportedEvents = new Map<string, PendingWrite>()
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
    const changed = () => this.#requeueAll()
    this.#lease = new Lease({ client: this.#client, clock, log, namespace, name: 'starlane-write', identity, changed })
    const common = { client: this.#client, clock, random, log, cluster, leads: () => this.#lease.held }
    this.#slices = new OwnedObjects({ ...common, resource: slices, mayDelete: slice => this.#mayDeleteSlice(slice) })
    const mayDelete = () => this.#allSynced()
    const moved = (key: ServiceKey) => this.#updateMulticluster(key)
    this.#imports = new OwnedObjects({ ...common, resource: imports, mayDelete, moved })
    this.#derived = new OwnedObjects({ ...common, resource: derivedServices, mayDelete, replaces: changesHeadless })
    this.#statuses = new StatusWriter(common)
  }

  start(): void {
    const { directory } = this.#mesh
    const { signal } = this.#stop
    for (const { key } of directory.services()) this.#update(key)
    this.#ends = [
      directory.onChange(changes => {
        for (const { key, before, after } of changes) this.#update(key, after ?? before)
      }),
      this.#world.clock.every(requeueMs, () => this.#requeueAll()),
      this.#world.clock.every(repeatMs, () => this.#repeatEvents()),
    ]
    const { endpointSlices, multicluster } = this.#options
    this.#running = Promise.all([
      this.#lease.run(signal),
      this.#statuses.run(signal),
      ...(endpointSlices ? [this.#slices.run(signal)] : []),
      // Watched even when derivedServices is off, so that those of an earlier configuration are deleted.
      ...(multicluster ? [this.#imports.run(signal), this.#derived.run(signal), this.#watchExports(signal)] : []),
    ])
  }

  /** Takes all current problems; those of this cluster's own Services become Events. */
  report(problems: readonly Problem[]): void {
    if (!this.#options.events) return
    const reported = new Map<string, PendingWrite>()
    for (const problem of problems) {
      const event = eventOf(problem, this.#options.cluster, this.#world.clock.wall())
      if (!event || reported.size >= maxEvents) continue
      const { namespace, name } = event.metadata
      const content = problem.message
      reported.set(`${namespace}/${name}`, {
        resource: events,
        namespace,
        name,
        subresource: '',
        value: event,
        content,
      })
    }
    for (const [key, { namespace, name }] of this.#reportedEvents) {
      if (!reported.has(key)) this.#statuses.forget(events, namespace, name, '')
    }
    this.#reportedEvents = reported
    for (const write of reported.values()) this.#statuses.write(write)
  }

  /** Why something cannot be written; empty if everything can. */
  problems(): Problem[] {
    const failures = [this.#lease.failure, this.#statuses.failure].filter(failure => failure !== undefined)
    const own = failures.map(({ code, message }): Problem => ({ code, where: this.#options.cluster, message }))
    return [...own, ...[this.#slices, this.#imports, this.#derived].flatMap(objects => objects.problems())]
  }

  /** Written objects stay, since others may rely on them while Starlane restarts. */
  async close(): Promise<void> {
    for (const end of this.#ends) end()
    this.#stop.abort()
    await this.#client.close()
    await this.#running
  }

  /** `known`: the service, or what it was before it was removed. */
  #update(key: ServiceKey, known = this.#mesh.directory.service(key)): void {
    const service = this.#mesh.directory.service(key)
    if (this.#options.endpointSlices) this.#slices.want(key, service ? slicesOf(service) : [])
    if (!this.#options.multicluster) return
    this.#updateMulticluster(key)
    // The address of a derived Service is in the import of its origin.
    const origin = originOf(known)
    if (origin !== undefined) this.#updateMulticluster(origin)
  }

  #updateMulticluster(key: ServiceKey): void {
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

  /** `known`: the current status of the object; undefined also when the object was not seen yet. */
  #writeStatus(resource: Resource, key: ServiceKey, status: MulticlusterStatus | undefined, known: unknown): void {
    const [namespace = '', name = ''] = key.split('/')
    if (!status || !this.#hasApi) return this.#statuses.forget(resource, namespace, name, '/status')
    const { kind, plural } = resource
    const { apiVersion } = this.#imports
    const served = { ...resource, apiVersion, paths: [`/apis/${apiVersion}/${plural}`] }
    const wallMs = this.#world.clock.wall()
    const value = {
      apiVersion,
      kind,
      metadata: { namespace, name },
      status: withTransitionTimes(status, known, wallMs),
    }
    const write = { resource: served, namespace, name, subresource: '/status', value, content: digestOf(status) }
    if (sameStatus(known, status)) return this.#statuses.markWritten(write)
    // The object is new, or its status was cleared: write it again. A status that another controller changed is left alone.
    if (known === undefined) this.#statuses.forget(resource, namespace, name, '/status')
    this.#statuses.write(write)
  }

  #watchExports(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#world
    const listener = {
      put: ({ metadata: { namespace = '', name }, status }: ApiObject) => {
        this.#exported.set(serviceKey(namespace, name), status)
        this.#update(serviceKey(namespace, name))
      },
      drop: (namespace: string, name: string) => {
        this.#exported.delete(serviceKey(namespace, name))
        this.#update(serviceKey(namespace, name))
      },
      listed: () => {},
      stateChanged: (_: WatchState) => {},
    }
    const options = { client: this.#client, clock, random, log, cluster: this.#options.cluster }
    return new Watcher(exports, listener, options).run(signal)
  }

  #mayDeleteSlice({ labels }: Existing): boolean {
    const unsynced = this.#mesh.unsyncedClusters()
    return this.#mesh.directory.synced && !unsynced.includes(String(labels[sourceClusterLabel]))
  }

  /** An import may depend on any cluster. */
  #allSynced(): boolean {
    return this.#mesh.directory.synced && this.#mesh.unsyncedClusters().length === 0
  }

  #requeueAll(): void {
    if (this.#hasApi === this.#imports.isAbsent) this.#apiChanged()
    this.#slices.requeueAll()
    this.#imports.requeueAll()
    this.#derived.requeueAll()
    this.#statuses.resume()
  }

  /** The Multi-Cluster Services API was installed or removed. */
  #apiChanged(): void {
    this.#hasApi = !this.#imports.isAbsent
    for (const { key } of this.#mesh.directory.services()) this.#updateMulticluster(key)
  }

  #repeatEvents(): void {
    for (const { namespace, name, value, ...rest } of this.#reportedEvents.values()) {
      this.#statuses.forget(events, namespace, name, '')
      const lastTimestamp = new Date(this.#world.clock.wall()).toISOString().replace(/\.\d+Z$/, 'Z')
      this.#statuses.write({ ...rest, namespace, name, value: { ...(value as object), lastTimestamp } })
    }
  }
}

/** The service that a derived one was derived from. */
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
