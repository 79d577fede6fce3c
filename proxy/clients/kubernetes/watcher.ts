/**
 * Follows one resource of one cluster: lists it, then watches from that version on, for as long as it is not told to stop.
 *
 *   list (pages) ──► watch ──► ended, cut, silent ──► watch again from the last version
 *        ▲             │
 *        └── 410 ──────┘ what vanished in between is told as dropped
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

/** Hears of every object, in order. */
export interface WatchListener {
  put(object: ApiObject): void
  drop(namespace: string, name: string): void
  /** All that the cluster has was told. */
  listed(): void
  moved(state: WatchState): void
}

export type WatchState =
  | { readonly state: 'starting' | 'watching' | 'absent' }
  | { readonly state: 'denied'; readonly error: MeshError }
  /** `misses`: attempts in a row that brought nothing. */
  | { readonly state: 'failing'; readonly error: MeshError; readonly misses: number }

export interface WatcherOptions {
  readonly client: Pick<KubernetesClient, 'json' | 'stream' | 'server'>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly cluster: string
}

const pageSize = 500
/** The server ends a watch after 5 to 10 minutes, each at another time. */
const watchSeconds = { least: 300, spread: 300 }
/**
 * Servers send a bookmark every minute. One that is silent for longer than two of them is asked again: where nothing is
 * wrong that costs one request, and where the connection is dead nobody else would notice.
 */
const idleMs = 150_000
/** Until a resource that was missing or not allowed is looked for again. */
const recheckMs = 120_000

export class Watcher {
  readonly resource: Resource
  readonly #listener: WatchListener
  readonly #options: WatcherOptions
  readonly #backoff: Backoff
  /** Name to version of everything the listener has been told of. */
  #known = new Map<string, string>()
  /** Undefined: the next step is a list. */
  #version: string | undefined
  /** Who gave that version, which means nothing to anybody else. */
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

  /** Of those of the resource, the one that the server knows, once it has been listed. */
  get path(): string {
    return this.#path
  }

  /** Returns when the signal says so, and never throws. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#options.clock, await this.#step(signal), signal)
    }
  }

  /** One list where one is due, and one watch; returns how long to wait before the next. */
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

  /** Pages stay readable for some minutes; where that was too short, all is asked for at once. */
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
        throw new MeshError('SOURCE_READ', `GET ${this.#path}: the list goes round in circles; is this an API server?`)
      }
      for (const object of page.items) this.#meet(object, seen)
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

  /** What stands unchanged since the last list is not told again. */
  #meet(object: ApiObject, seen: Map<string, string>): void {
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
      if (this.#options.client.server !== this.#server) return this.#moveOn(body)
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

  /** Another server: what the first one had and this one has not is gone. */
  #moveOn(body: Body): number {
    body.on('error', () => {}).destroy()
    this.#version = undefined
    return 0
  }

  /** After a watch that ended as watches do. */
  #pause(lastedMs: number): number {
    this.#backoff.lasted(lastedMs)
    return lastedMs >= backoffMs.healthy ? 0 : this.#backoff.next()
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
    else if (type === 'ADDED' || type === 'MODIFIED') this.#meet(raw, this.#known)
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
    this.#listener.moved({ state: 'watching' })
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
    this.#listener.moved({ state: 'failing', error, misses: this.#misses })
    return this.#backoff.next(error instanceof ApiError ? error.retryAfterMs : undefined)
  }

  #startOver(error: ApiError): number {
    this.#options.log.info('kubernetes.list-again', { ...this.#where, why: error.message })
    this.#version = undefined
    return this.#backoff.next()
  }

  /** Nobody has installed it, or somebody has removed it and everything of it. */
  #absent(): number {
    for (const key of this.#known.keys()) this.#drop(key)
    this.#known.clear()
    this.#listener.listed()
    this.#listener.moved({ state: 'absent' })
    return this.#recheck()
  }

  #denied(error: ApiError): number {
    const message = `may not read ${this.resource.plural}; its role needs ${ruleText(this.resource)} (${error.message})`
    const denied = new MeshError('SOURCE_READ', message, { cause: error })
    this.#listener.moved({ state: 'denied', error: denied })
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
