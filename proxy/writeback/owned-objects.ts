/** Keeps all objects of one resource that Starlane owns in the desired state. */
import { ApiError } from '../clients/kubernetes/api-error.ts'
import type { KubernetesClient } from '../clients/kubernetes/client.ts'
import type { Resource } from '../clients/kubernetes/resources.ts'
import { Watcher, type WatchState } from '../clients/kubernetes/watcher.ts'
import { type ApiObject, isRecord } from '../clients/kubernetes/wire.ts'
import { MeshError, messageOf, type Problem } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import { Backoff } from '../model/time/backoff.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import { sleep } from '../model/time/sleep.ts'
import { digestKey, type Manifest } from './manifest.ts'

export interface OwnedObjectsOptions {
  readonly client: KubernetesClient
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly cluster: string
  /** Selects exactly the objects written by Starlane. */
  readonly resource: Resource
  /** Whether this process is the leader. */
  readonly leads: () => boolean
  /** Whether enough clusters have synced to delete an object that is not wanted. */
  readonly mayDelete: (object: Existing) => boolean
  /** Whether the object has to be deleted first, since the API cannot update the difference. */
  readonly replaces?: (existing: Existing, wanted: Manifest) => boolean
  /** An object was created, changed or deleted. */
  readonly moved?: (key: string) => void
}

/** Longest sleep of an idle worker. */
export const idleMs = 60_000

/** What is kept in memory of an object in the cluster. */
export interface Existing {
  readonly namespace: string
  readonly name: string
  readonly digest: string
  readonly labels: Readonly<Record<string, unknown>>
  readonly uid: string
  /** Only of resources that are not watched as metadata only. */
  readonly status: unknown
}

/**
 * A controller for one resource: a watch shows the existing objects; those that differ are written by server-side apply, those
 * not wanted are deleted, no matter who changed them.
 */
export class OwnedObjects {
  readonly #options: OwnedObjectsOptions
  readonly #existing = new Map<string, Existing>()
  readonly #wanted = new Map<string, Manifest>()
  readonly #groups = new Map<string, readonly string[]>()
  readonly #dirty = new Set<string>()
  readonly #backoff: Backoff
  #listed = false
  #state: WatchState = { state: 'starting' }
  #path: string
  #failure: MeshError | undefined
  #wake: () => void = () => {}

  constructor(options: OwnedObjectsOptions) {
    this.#options = options
    this.#path = options.resource.paths[0] ?? ''
    this.#backoff = new Backoff(options.random)
  }

  /** Sets all objects that a group (a service) wants. An empty list deletes them. */
  want(group: string, manifests: readonly Manifest[]): void {
    const keys = manifests.map(keyOf)
    for (const key of this.#groups.get(group) ?? []) {
      if (keys.includes(key)) continue
      this.#wanted.delete(key)
      this.#dirty.add(key)
    }
    for (const manifest of manifests) {
      this.#wanted.set(keyOf(manifest), manifest)
      this.#dirty.add(keyOf(manifest))
    }
    if (keys.length > 0) this.#groups.set(group, keys)
    else this.#groups.delete(group)
    this.#wake()
  }

  /** Compares all objects again: leadership, or what is known of the clusters, has changed. */
  requeueAll(): void {
    for (const key of this.#wanted.keys()) this.#dirty.add(key)
    for (const key of this.#existing.keys()) this.#dirty.add(key)
    this.#wake()
  }

  /** The API server does not have the resource, which is not an error. */
  get isAbsent(): boolean {
    return this.#state.state === 'absent'
  }

  /** The version that the API server has, like `v1` or `discovery.k8s.io/v1`. */
  get apiVersion(): string {
    return this.#path.split('/').slice(2, -1).join('/')
  }

  problems(): Problem[] {
    const { cluster } = this.#options
    const errors = [this.#failure, this.#state.state === 'denied' ? this.#state.error : undefined]
    return errors.flatMap(error => (error ? [{ code: error.code, where: cluster, message: error.message }] : []))
  }

  /** Returns when the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { resource, client, clock, random, log, cluster } = this.#options
    const listed = () => {
      this.#path = watcher.path
      this.#listed = true
      this.requeueAll()
    }
    const options = { client, clock, random, log, cluster }
    const watcher = new Watcher(resource, { ...this.#listener(), listed }, options)
    await Promise.all([watcher.run(signal), this.#work(signal)])
  }

  #listener() {
    return {
      put: (object: ApiObject) => this.#put(object),
      drop: (namespace: string, name: string) => this.#drop(`${namespace}/${name}`),
      stateChanged: (state: WatchState) => {
        this.#state = state
        this.#wake()
      },
    }
  }

  /** The existing object, by `namespace/name`. */
  existing(key: string): Existing | undefined {
    return this.#existing.get(key)
  }

  #put({ metadata, status }: ApiObject): void {
    const { namespace = '', name, annotations, labels, uid } = metadata
    const digest = isRecord(annotations) ? String(annotations[digestKey] ?? '') : ''
    const key = `${namespace}/${name}`
    const known = { namespace, name, digest, labels: isRecord(labels) ? labels : {}, uid: String(uid ?? ''), status }
    this.#existing.set(key, known)
    this.#moved(key)
  }

  #drop(key: string): void {
    this.#existing.delete(key)
    this.#moved(key)
  }

  #moved(key: string): void {
    this.#dirty.add(key)
    this.#wake()
    this.#options.moved?.(key)
  }

  async #work(signal: AbortSignal): Promise<void> {
    const { clock, leads } = this.#options
    while (!signal.aborted) {
      const key = this.#listed && !this.isAbsent && leads() ? this.#dirty.values().next().value : undefined
      if (key === undefined) await this.#pause(signal)
      else await sleep(clock, await this.#reconcile(key, signal), signal)
    }
  }

  /** Returns how long to wait before the next. */
  async #reconcile(key: string, signal: AbortSignal): Promise<number> {
    const [wanted, existing] = [this.#wanted.get(key), this.#existing.get(key)]
    this.#dirty.delete(key)
    try {
      if (wanted && existing && this.#options.replaces?.(existing, wanted)) await this.#delete(existing, signal)
      else if (wanted && wanted.metadata.annotations?.[digestKey] !== existing?.digest)
        await this.#apply(wanted, signal)
      else if (!wanted && existing && this.#options.mayDelete(existing)) await this.#delete(existing, signal)
      this.#failure = undefined
      this.#backoff.succeeded()
      return 0
    } catch (error) {
      if (signal.aborted) return 0
      this.#dirty.add(key)
      this.#fail(error)
      return this.#backoff.next(error instanceof ApiError ? error.retryAfterMs : undefined)
    }
  }

  async #apply(manifest: Manifest, signal: AbortSignal): Promise<void> {
    const { apiVersion } = this
    await applyObject(this.#options.client, this.#pathOf(manifest.metadata), { ...manifest, apiVersion }, signal)
  }

  async #delete(existing: Existing, signal: AbortSignal): Promise<void> {
    await this.#options.client.json({ method: 'DELETE', path: this.#pathOf(existing) }, signal).catch(error => {
      if (!(error instanceof ApiError) || error.status !== 404) throw error
    })
  }

  #pathOf({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
    return pathOf({ paths: [this.#path] }, namespace, name)
  }

  #fail(thrown: unknown): void {
    const { resource, log, cluster } = this.#options
    this.#failure = writeError(thrown, resource)
    log.warn('writeback.failed', { cluster, resource: resource.plural, why: this.#failure.message })
  }

  /** Waits until something is dirty. */
  #pause(signal: AbortSignal): Promise<void> {
    const woken = new AbortController()
    this.#wake = () => woken.abort()
    return sleep(this.#options.clock, idleMs, AbortSignal.any([signal, woken.signal]))
  }
}

/** Server-side apply: creates or updates, and owns only the fields of the manifest. */
export async function applyObject(
  client: KubernetesClient,
  path: string,
  value: unknown,
  signal: AbortSignal,
): Promise<void> {
  const query = { fieldManager: 'starlane', force: 'true' }
  await client.json({ method: 'PATCH', path, query, body: { type: 'application/apply-patch+yaml', value } }, signal)
}

export function pathOf({ paths }: Pick<Resource, 'paths'>, namespace: string, name: string): string {
  const [path = ''] = paths
  const at = path.lastIndexOf('/')
  return `${path.slice(0, at)}/namespaces/${namespace}${path.slice(at)}/${name}`
}

export function writeError(thrown: unknown, { group, plural }: Resource, verbs = '[create, patch, delete]'): MeshError {
  const rule = `{apiGroups: ["${group}"], resources: [${plural}], verbs: ${verbs}}`
  const message =
    thrown instanceof ApiError && thrown.status === 403
      ? `may not write ${plural}; its role needs ${rule} (${thrown.message})`
      : `cannot write ${plural}: ${messageOf(thrown)}`
  return new MeshError('SOURCE_WRITE', message, { cause: thrown })
}

function keyOf({ metadata: { namespace, name } }: Manifest): string {
  return `${namespace}/${name}`
}
