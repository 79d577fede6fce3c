/**
 * Follows one resource of one cluster: lists it, then watches it from that version on, until it is stopped.
 *
 *   list (pages) ──► watch ──► ended, cut, silent ──► watch again from the last version
 *        ▲             │
 *        └── 410 ──────┘ objects that are gone from the new list are dropped
 */
import { MeshError, messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import { Backoff, backoffMs } from '../../model/time/backoff.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import { sleep } from '../../model/time/sleep.ts'
import { ApiError, apiErrorOf } from './api-error.ts'
import type { Body, KubernetesClient } from './client.ts'
import { IdleDeadline } from './idle-deadline.ts'
import { LineSplitter } from './lines.ts'
import { type Resource, ruleText } from './resources.ts'
import { type ApiObject, asObject, keyOf, type Page, readEvent, readPage, versionOf } from './wire.ts'

/** Receives every change, in order. */
export interface WatchListener {
  put(object: ApiObject): void
  drop(namespace: string, name: string): void
  /** A complete list has been delivered. */
  listed(): void
  stateChanged(state: WatchState): void
}

export type WatchState =
  | { readonly state: 'starting' | 'watching' | 'absent' }
  | { readonly state: 'denied'; readonly error: MeshError }
  /** `misses`: consecutive failed attempts. */
  | { readonly state: 'failing'; readonly error: MeshError; readonly misses: number }

export interface WatcherOptions {
  readonly client: Pick<KubernetesClient, 'json' | 'stream' | 'server'>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly cluster: string
}

const pageSize = 500
/** The server ends a watch after a random time between 5 and 10 minutes. */
const watchSeconds = { least: 300, spread: 300 }
/**
 * Servers send a bookmark every minute. After two and a half minutes of silence the watch is restarted: a healthy server
 * answers one more request, and a dead connection would not be noticed otherwise.
 */
const idleMs = 150_000
/** How long to wait before trying a missing or denied resource again. */
const recheckMs = 120_000

export class Watcher {
  readonly resource: Resource
  readonly #listener: WatchListener
  readonly #options: WatcherOptions
  readonly #backoff: Backoff
  /** Versions of the objects that the listener has, by `namespace/name`. */
  #known = new Map<string, string>()
  /** Undefined: the next step is a list. */
  #version: string | undefined
  /** The server that gave that version. A version has no meaning for another server. */
  #server = ''
  #path: string
  #misses = 0

  constructor(resource: Resource, listener: WatchListener, options: WatcherOptions) {
    this.resource = resource
    this.#listener = listener
    this.#options = options
    this.#backoff = new Backoff(options.random)
    this.#path = resource.paths[0] ?? ''
  }

  /** The path that the server knows, once the resource has been listed. */
  get path(): string {
    return this.#path
  }

  /** Returns when the signal is aborted. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#options.clock, await this.#step(signal), signal)
    }
  }

  /** Lists if needed, then watches once. Returns how long to wait before the next step. */
  async #step(signal: AbortSignal): Promise<number> {
    try {
      if (this.#version === undefined) await this.#list(signal)
      return await this.#watch(signal)
    } catch (error) {
      return signal.aborted ? 0 : this.#failed(error)
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    for (const path of this.resource.paths) {
      try {
        this.#path = path
        await this.#listWhole(signal)
        return
      } catch (error) {
        const isLast = path === this.resource.paths.at(-1)
        if (isLast || !(error instanceof ApiError) || error.status !== 404) throw error
      }
    }
  }

  /** A list expires after some minutes. If reading its pages takes longer, it is requested in one piece. */
  async #listWhole(signal: AbortSignal): Promise<void> {
    const version = await this.#listPages(pageSize, signal).catch(error => {
      if (error instanceof ApiError && error.isGone) return this.#listPages(undefined, signal)
      throw error
    })
    this.#version = version
    this.#server = this.#options.client.server
    this.#listener.listed()
  }

  async #listPages(limit: number | undefined, signal: AbortSignal): Promise<string> {
    const seen = new Map<string, string>()
    let page: Page | undefined
    do {
      const from = page?.continue
      page = await this.#page(limit, from, signal)
      if (page.continue !== '' && page.continue === from) {
        throw new MeshError(
          'SOURCE_READ',
          `GET ${this.#path}: a page refers to itself as the next; is this an API server?`,
        )
      }
      for (const object of page.items) this.#put(object, seen)
    } while (page.continue !== '')
    for (const key of this.#known.keys()) if (!seen.has(key)) this.#drop(key)
    this.#known = seen
    return page.version
  }

  async #page(limit: number | undefined, from: string | undefined, signal: AbortSignal): Promise<Page> {
    const query = {
      ...this.#selection,
      ...(limit !== undefined && { limit: String(limit) }),
      ...(from !== undefined && { continue: from }),
    }
    const accept = this.#accept('PartialObjectMetadataList')
    return readPage(await this.#options.client.json({ path: this.#path, query, accept }, signal), this.#path)
  }

  /** An object whose version has not changed is not delivered again. */
  #put(object: ApiObject, seen: Map<string, string>): void {
    const key = keyOf(object)
    const { resourceVersion } = object.metadata
    if (this.#known.get(key) !== resourceVersion) this.#listener.put(object)
    this.#known.set(key, resourceVersion)
    seen.set(key, resourceVersion)
  }

  async #watch(signal: AbortSignal): Promise<number> {
    const { clock, random } = this.#options
    const idle = new IdleDeadline(clock, idleMs)
    const began = clock.now()
    let events = 0
    try {
      const timeoutSeconds = watchSeconds.least + Math.floor(random() * watchSeconds.spread)
      const query = {
        ...this.#selection,
        watch: 'true',
        allowWatchBookmarks: 'true',
        resourceVersion: this.#version ?? '',
        timeoutSeconds: String(timeoutSeconds),
      }
      const accept = this.#accept('PartialObjectMetadata')
      const body = await this.#options.client.stream(
        { path: this.#path, query, accept },
        AbortSignal.any([signal, idle.signal]),
      )
      if (this.#options.client.server !== this.#server) return this.#switchServer(body)
      this.#recovered()
      const lines = new LineSplitter()
      for await (const chunk of body as AsyncIterable<Buffer>) {
        idle.touch()
        for (const line of lines.push(chunk)) {
          this.#event(line)
          events++
        }
      }
    } catch (error) {
      this.#backoff.lasted(clock.now() - began)
      if (signal.aborted || (events === 0 && !idle.signal.aborted) || error instanceof MeshError) throw error
      this.#options.log.debug('kubernetes.watch-cut', { ...this.#where, why: messageOf(error) })
    } finally {
      idle.stop()
    }
    return this.#pause(clock.now() - began)
  }

  /** The kubeconfig now gives another server: everything is listed again. */
  #switchServer(body: Body): number {
    body.on('error', () => {}).destroy()
    this.#version = undefined
    return 0
  }

  /** The wait after a watch that ended normally. */
  #pause(lastedMs: number): number {
    this.#backoff.lasted(lastedMs)
    return lastedMs >= backoffMs.healthyMs ? 0 : this.#backoff.next()
  }

  #event(line: string): void {
    const { type, object } = readEvent(line, this.#path)
    if (type === 'ERROR') throw apiErrorOf('SOURCE_READ', `watch ${this.#path}`, object)
    const raw = asObject(object)
    if (!raw) {
      if (type !== 'BOOKMARK') throw new MeshError('SOURCE_READ', `watch ${this.#path}: ${type} without a named object`)
      this.#version = versionOf(object) ?? this.#version
      return
    }
    const key = keyOf(raw)
    if (type === 'DELETED') this.#forget(key)
    else if (type === 'ADDED' || type === 'MODIFIED') this.#put(raw, this.#known)
    this.#version = raw.metadata.resourceVersion
  }

  #forget(key: string): void {
    if (this.#known.delete(key)) this.#drop(key)
  }

  #drop(key: string): void {
    const at = key.indexOf('/')
    this.#listener.drop(key.slice(0, at), key.slice(at + 1))
  }

  #recovered(): void {
    if (this.#misses > 0) this.#options.log.info('kubernetes.watch-back', this.#where)
    this.#misses = 0
    this.#listener.stateChanged({ state: 'watching' })
  }

  #failed(thrown: unknown): number {
    const error = asMeshError(thrown, this.#path)
    if (error instanceof ApiError) {
      if (error.isGone) return this.#startOver(error)
      if (error.status === 404 && this.#version !== undefined) return this.#startOver(error)
      if (error.status === 404 && this.resource.optional) return this.#absent()
      if (error.status === 403) return this.#denied(error)
    }
    this.#misses++
    if (this.#misses === 1) this.#options.log.warn('kubernetes.watch-failed', { ...this.#where, why: error.message })
    this.#listener.stateChanged({ state: 'failing', error, misses: this.#misses })
    return this.#backoff.next(error instanceof ApiError ? error.retryAfterMs : undefined)
  }

  #startOver(error: ApiError): number {
    this.#options.log.info('kubernetes.list-again', { ...this.#where, why: error.message })
    this.#version = undefined
    return this.#backoff.next()
  }

  /** The resource is not installed, or has been removed with all of its objects. */
  #absent(): number {
    for (const key of this.#known.keys()) this.#drop(key)
    this.#known.clear()
    this.#listener.listed()
    this.#listener.stateChanged({ state: 'absent' })
    return this.#recheck()
  }

  #denied(error: ApiError): number {
    const message = `may not read ${this.resource.plural}; its role needs ${ruleText(this.resource)} (${error.message})`
    const denied = new MeshError('SOURCE_READ', message, { cause: error })
    this.#listener.stateChanged({ state: 'denied', error: denied })
    return this.resource.optional ? this.#recheck() : this.#backoff.next()
  }

  #recheck(): number {
    return recheckMs * (1 + this.#options.random())
  }

  get #selection(): Record<string, string> {
    const { labelSelector } = this.resource
    return labelSelector === undefined ? {} : { labelSelector }
  }

  get #where() {
    return { cluster: this.#options.cluster, resource: this.resource.plural }
  }

  #accept(as: string): string {
    return this.resource.metadataOnly
      ? `application/json;as=${as};g=meta.k8s.io;v=v1,application/json`
      : 'application/json'
  }
}

function asMeshError(thrown: unknown, path: string): MeshError {
  if (thrown instanceof MeshError) return thrown
  return new MeshError('SOURCE_READ', `watch ${path}: ${messageOf(thrown)}`, { cause: thrown })
}
