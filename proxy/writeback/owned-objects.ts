import { ApiError } from '../clients/kubernetes/api-error.ts'
import type { KubernetesClient } from '../clients/kubernetes/client.ts'
import type { Resource } from '../clients/kubernetes/resources.ts'
import { Watcher, type WatchState } from '../clients/kubernetes/watcher.ts'
import { isRecord, type RawObject } from '../clients/kubernetes/wire.ts'
import { MeshError, messageOf, type Problem } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import { Backoff } from '../model/time/backoff.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import { sleep } from '../model/time/sleep.ts'
import { digestKey, type Manifest } from './manifest.ts'

export interface OwnedOptions {
  readonly client: KubernetesClient
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly cluster: string
  /** Selects exactly what Starlane has written. */
  readonly resource: Resource
  /** Whether this process is the one that writes. */
  readonly leads: () => boolean
  /** Whether enough is known to say that this object is not wanted any more. */
  readonly mayDelete: (object: Existing) => boolean
  /** Whether the object has to go first, since the API does not change what is different. */
  readonly replaces?: (existing: Existing, wanted: Manifest) => boolean
  /** One of the objects is there, is gone, or has changed. */
  readonly moved?: (key: string) => void
}

/** The longest sleep of a worker that has nothing to do. */
export const idleMs = 60_000

/** What is kept of an object in the cluster. */
export interface Existing {
  readonly namespace: string
  readonly name: string
  readonly digest: string
  readonly labels: Readonly<Record<string, unknown>>
  readonly uid: string
  /** Of kinds that are read whole. */
  readonly status: unknown
}

/**
 * Makes the objects of one resource that Starlane owns be what they should be: written by server-side apply when they
 * differ, deleted when nobody wants them, whoever changed them. What is there is known from a watch.
 */
export class OwnedObjects {
  readonly #options: OwnedOptions
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

  constructor(options: OwnedOptions) {
    this.#options = options
    this.#path = options.resource.paths[0] ?? ''
    this.#backoff = new Backoff(options.random)
  }

  /** All objects that a group (a service) wants from now on; none takes its former ones back. */
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

  /** Looks at everything again: leadership or what is known of the clusters has changed. */
  reconsider(): void {
    for (const key of this.#wanted.keys()) this.#dirty.add(key)
    for (const key of this.#existing.keys()) this.#dirty.add(key)
    this.#wake()
  }

  /** The server knows no such resource: there is nothing to write to, and nothing wrong. */
  get isAbsent(): boolean {
    return this.#state.state === 'absent'
  }

  /** `v1`, `discovery.k8s.io/v1`: of the versions that the resource has, the one that the server knows. */
  get apiVersion(): string {
    return this.#path.split('/').slice(2, -1).join('/')
  }

  problems(): Problem[] {
    const { cluster } = this.#options
    const errors = [this.#failure, this.#state.state === 'denied' ? this.#state.error : undefined]
    return errors.flatMap(error => (error ? [{ code: error.code, where: cluster, message: error.message }] : []))
  }

  /** Returns when the signal says so. */
  async run(signal: AbortSignal): Promise<void> {
    const { resource, client, clock, random, log, cluster } = this.#options
    const listed = () => {
      this.#path = watcher.path
      this.#listed = true
      this.reconsider()
    }
    const options = { client, clock, random, log, cluster }
    const watcher = new Watcher(resource, { ...this.#listener(), listed }, options)
    await Promise.all([watcher.run(signal), this.#work(signal)])
  }

  #listener() {
    return {
      put: (object: RawObject) => this.#meet(object),
      drop: (namespace: string, name: string) => this.#miss(`${namespace}/${name}`),
      moved: (state: WatchState) => {
        this.#state = state
        this.#wake()
      },
    }
  }

  /** What is known to be there, by `namespace/name`. */
  existing(key: string): Existing | undefined {
    return this.#existing.get(key)
  }

  #meet({ metadata, status }: RawObject): void {
    const { namespace = '', name, annotations, labels, uid } = metadata
    const digest = isRecord(annotations) ? String(annotations[digestKey] ?? '') : ''
    const key = `${namespace}/${name}`
    const known = { namespace, name, digest, labels: isRecord(labels) ? labels : {}, uid: String(uid ?? ''), status }
    this.#existing.set(key, known)
    this.#moved(key)
  }

  #miss(key: string): void {
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
      else await sleep(clock, await this.#settle(key, signal), signal)
    }
  }

  /** Returns how long to wait before the next. */
  async #settle(key: string, signal: AbortSignal): Promise<number> {
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
    log.warn('kubernetes.write-failed', { cluster, resource: resource.plural, why: this.#failure.message })
  }

  /** Until something is dirty. */
  #pause(signal: AbortSignal): Promise<void> {
    const woken = new AbortController()
    this.#wake = () => woken.abort()
    return sleep(this.#options.clock, idleMs, AbortSignal.any([signal, woken.signal]))
  }
}

/** Server-side apply: creates or changes, and takes over no field that is not in the manifest. */
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
  return new MeshError('SOURCE_READ', message, { cause: thrown })
}

function keyOf({ metadata: { namespace, name } }: Manifest): string {
  return `${namespace}/${name}`
}
