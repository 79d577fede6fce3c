/**
 * Follows one resource of one cluster: lists it, then watches it from that version on, until it is stopped.
 *
 *   list (pages) ──► watch ──► ended, cut, silent ──► watch again from the last version
 *        ▲             │
 *        └── 410 ──────┘ objects that are gone from the new list are dropped
 */

import { defaultLimits } from '../../model/cluster.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import { durationText } from '../../model/text/duration.ts'
import { Backoff, backoffMs } from '../../model/time/backoff.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import { sleep } from '../../model/time/sleep.ts'
import { Turns } from '../../model/time/turn.ts'
import { Budget, OverLimits, overLimitsMs } from '../budget.ts'
import { ApiError, apiErrorOf } from './api-error.ts'
import { type Answer, type KubernetesClient, ServerReplaced } from './client.ts'
import { IdleDeadline } from './idle-deadline.ts'
import { LineSplitter } from './lines.ts'
import { ListScanner } from './list-scanner.ts'
import { type Resource, ruleText } from './resources.ts'
import {
  type ApiObject,
  asObject,
  isOlder,
  keyOf,
  NoEvent,
  type Page,
  readEvent,
  readObject,
  readPage,
  versionOf,
} from './wire.ts'

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
  /** Left alone for some minutes, with what was read so far. */
  | { readonly state: 'over'; readonly error: OverLimits }
  /** `misses`: consecutive failed attempts. */
  | { readonly state: 'failing'; readonly error: MeshError; readonly misses: number }

export interface WatcherOptions {
  readonly client: Pick<KubernetesClient, 'list' | 'stream'>
  /** Shared by all watchers of the cluster; by default the watcher has one of its own. */
  readonly budget?: Budget
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
/** How long one page may take, however steadily it trickles. */
const pageMs = 300_000
/** A server may have filtered all objects out of a page; so many in a row mean that it never ends. */
const maxEmptyPages = 100
/** How long to wait before trying a missing or denied resource again. */
const recheckMs = 120_000

/** An object that the listener has. */
interface Known {
  /** Empty if the listener must get the object again, whatever its version is. */
  version: string
  /** As the budget counts it. */
  readonly size: number
  /** The list that had it last. */
  round: number
}

/** The server has gone back to an older state: it was restored, or another one is behind its address. */
class WentBack extends MeshError {}

export class Watcher {
  readonly resource: Resource
  readonly #listener: WatchListener
  readonly #options: WatcherOptions
  readonly #backoff: Backoff
  readonly #budget: Budget
  readonly #turns = new Turns()
  /** By `namespace/name`. */
  readonly #known = new Map<string, Known>()
  /** Counts the lists. */
  #round = 0
  /** Received in the current list, without what is not kept of its objects. */
  #listBytes = 0
  /** Undefined: the next step is a list. */
  #version: string | undefined
  /** The newest version so far, even while a new list is needed. */
  #newest = ''
  /** The server that gave these versions. They have no meaning for another server. */
  #server = ''
  #path: string
  #misses = 0
  /** Watches in a row that have sent what is no event, and none that is one. */
  #spoilt = 0

  constructor(resource: Resource, listener: WatchListener, options: WatcherOptions) {
    this.resource = resource
    this.#listener = listener
    this.#options = options
    this.#budget = options.budget ?? new Budget(defaultLimits, options.clock)
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

  /** Once it has stopped: the listener loses all objects that it has. */
  forget(): void {
    for (const key of [...this.#known.keys()]) this.#forget(key)
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
    let missing: ApiError | undefined
    for (const path of this.resource.paths) {
      try {
        this.#path = path
        await this.#listWhole(signal)
        return
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 404) throw error
        missing ??= error
      }
    }
    if (missing) await this.#listElsewhere(missing, signal)
  }

  async #listElsewhere(missing: ApiError, signal: AbortSignal): Promise<void> {
    const { elsewhere } = this.resource
    if (elsewhere === undefined) throw missing
    try {
      this.#path = elsewhere
      await this.#listWhole(signal)
    } catch (error) {
      const isDenied = error instanceof ApiError && error.status === 403
      throw isDenied ? missing : error
    }
  }

  /** A list expires after some minutes. If reading its pages takes longer, it is requested in one piece. */
  async #listWhole(signal: AbortSignal): Promise<void> {
    const version = await this.#listPages(pageSize, signal).catch(error => {
      if (error instanceof ApiError && error.isGone) return this.#listPages(undefined, signal)
      throw error
    })
    if (isOlder(version, this.#newest)) throw new WentBack('SOURCE_READ', wentBack(this.#path, version, this.#newest))
    this.#version = this.#newest = version
    this.#spoilt = 0
    this.#listener.listed()
  }

  async #listPages(limit: number | undefined, signal: AbortSignal): Promise<string> {
    this.#round++
    this.#listBytes = 0
    let page: Page | undefined
    let empty = 0
    do {
      const from = page?.continue
      const next = await this.#readPage(limit, from, signal)
      empty = next.objects > 0 ? 0 : empty + 1
      page = next
      if (page.continue !== '' && (page.continue === from || empty > maxEmptyPages)) {
        const what = page.continue === from ? 'a page refers to itself as the next' : 'the pages are empty'
        throw new MeshError('SOURCE_READ', `GET ${this.#path}: ${what}; is this an API server?`)
      }
    } while (page.continue !== '')
    for (const [key, known] of this.#known) if (known.round !== this.#round) this.#forget(key)
    return page.version
  }

  /** Delivers the objects of a page as they arrive. */
  async #readPage(
    limit: number | undefined,
    from: string | undefined,
    signal: AbortSignal,
  ): Promise<Page & { readonly objects: number }> {
    const late = new AbortController()
    const stop = this.#options.clock.after(pageMs, () => late.abort(tooSlow(this.#path)))
    try {
      const answer = await this.#requestPage(limit, from, AbortSignal.any([signal, late.signal]))
      try {
        if (answer.server !== this.#server) this.#switchServer(answer.server, from !== undefined)
        const scanner = new ListScanner(this.#path)
        let objects = 0
        for await (const chunk of answer.chunks) {
          this.#listBytes += chunk.length
          await this.#receive(chunk.length, this.#listBytes, signal)
          for (const { text } of scanner.push(chunk)) {
            await this.#turns.next()
            signal.throwIfAborted()
            const kept = this.#sizeOf(text.length)
            // What is thrown away does not count as what the cluster holds.
            this.#listBytes -= text.length - kept
            this.#put(readObject(text, this.#path), kept)
            objects++
          }
        }
        return { ...readPage(scanner.frame, this.#path), objects }
      } finally {
        answer.cancel()
      }
    } finally {
      stop()
    }
  }

  #requestPage(limit: number | undefined, from: string | undefined, signal: AbortSignal): Promise<Answer> {
    const query = {
      ...this.#selection,
      ...(limit !== undefined && { limit: String(limit) }),
      ...(from !== undefined && { continue: from }),
    }
    const accept = this.#accept('PartialObjectMetadataList')
    return this.#options.client.list({ path: this.#path, query, accept }, signal)
  }

  /** Waits until these bytes may be worked on: the cluster has sent no more than it may, and other work has had its turn. */
  async #receive(bytes: number, ofAnswer: number, signal: AbortSignal): Promise<void> {
    this.#budget.checkAnswer(ofAnswer)
    await this.#budget.pace(bytes, signal)
    await this.#turns.begin()
    signal.throwIfAborted()
  }

  #sizeOf(bytes: number): number {
    return Math.min(bytes, this.resource.keptBytes ?? bytes)
  }

  /** An object whose version has not changed is not delivered again. */
  #put(object: ApiObject, size: number): void {
    const round = this.#round
    const key = keyOf(object)
    const { resourceVersion: version } = object.metadata
    const known = this.#known.get(key)
    if (known?.version === version) {
      known.round = round
      return
    }
    this.#budget.hold(size, known?.size)
    this.#known.set(key, { version, size, round })
    this.#listener.put(object)
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
      const answer = await this.#options.client.stream(
        { path: this.#path, query, accept },
        AbortSignal.any([signal, idle.signal]),
      )
      try {
        if (answer.server !== this.#server) return this.#listAnew()
        this.#recovered()
        const lines = new LineSplitter()
        for await (const chunk of answer.chunks) {
          idle.touch()
          await this.#receive(chunk.length, 0, signal)
          for (const line of lines.push(chunk)) {
            await this.#turns.next()
            signal.throwIfAborted()
            this.#event(line)
            this.#spoilt = 0
            events++
          }
        }
        if (lines.isWithin) throw new NoEvent('SOURCE_READ', `watch ${this.#path}: it ended within a line`)
      } finally {
        answer.cancel()
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

  /** The kubeconfig now gives another server: all of its objects are delivered. */
  #switchServer(server: string, isWithin: boolean): void {
    this.#server = server
    this.#newest = ''
    this.#distrust()
    if (isWithin) throw new MeshError('SOURCE_READ', `GET ${this.#path}: the server has changed within a list`)
  }

  #listAnew(): number {
    this.#version = undefined
    this.#backoff.succeeded()
    return 0
  }

  /** Versions of another history say nothing about the objects. */
  #distrust(): void {
    for (const known of this.#known.values()) known.version = ''
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
      if (type !== 'BOOKMARK') throw new NoEvent('SOURCE_READ', `watch ${this.#path}: ${type} without a named object`)
      this.#advance(versionOf(object))
      return
    }
    const key = keyOf(raw)
    this.#advance(raw.metadata.resourceVersion)
    if (type === 'DELETED') this.#forget(key)
    else if (type === 'ADDED' || type === 'MODIFIED') this.#put(raw, this.#sizeOf(line.length))
  }

  /** Versions only grow; after a restore from a backup, the bookmarks of a waiting watch are the first to say so. */
  #advance(version: string | undefined): void {
    if (version === undefined) return
    if (isOlder(version, this.#newest)) throw new WentBack('SOURCE_READ', wentBack(this.#path, version, this.#newest))
    this.#version = this.#newest = version
  }

  #forget(key: string): void {
    const known = this.#known.get(key)
    if (!known) return
    this.#known.delete(key)
    this.#budget.release(known.size)
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
    if (error instanceof OverLimits) return this.#over(error)
    if (error instanceof ServerReplaced) return this.#listAnew()
    if (error instanceof WentBack) {
      this.#newest = ''
      this.#distrust()
      return this.#startOver(error)
    }
    if (error instanceof ApiError) {
      if (error.isGone) return this.#startOver(error)
      if (error.status === 404 && this.#version !== undefined) return this.#startOver(error)
      if (error.status === 404 && this.resource.optional) return this.#absent()
      if (error.status === 403) return this.#denied(error)
    }
    // The next watch sends again what was spoilt. If that does so too, a list shows whether it is an API server at all: one that answers
    // anything with 200 seems to watch.
    if (error instanceof NoEvent && ++this.#spoilt > 1) this.#version = undefined
    this.#misses++
    if (this.#misses === 1) this.#options.log.warn('kubernetes.watch-failed', { ...this.#where, why: error.message })
    this.#listener.stateChanged({ state: 'failing', error, misses: this.#misses })
    return this.#backoff.next(error instanceof ApiError ? error.retryAfterMs : undefined)
  }

  #startOver(error: MeshError): number {
    this.#options.log.info('kubernetes.list-again', { ...this.#where, why: error.message })
    this.#version = undefined
    return this.#backoff.next()
  }

  #over(error: OverLimits): number {
    this.#options.log.warn('kubernetes.watch-failed', { ...this.#where, why: error.message })
    this.#version = undefined
    this.#listener.stateChanged({ state: 'over', error })
    return overLimitsMs * (1 + this.#options.random())
  }

  /** The resource is not installed, or has been removed with all of its objects. */
  #absent(): number {
    for (const key of this.#known.keys()) this.#forget(key)
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

function wentBack(path: string, version: string, before: string): string {
  return `${path}: version ${version} follows ${before}: the server was restored, and is listed again`
}

function tooSlow(path: string): MeshError {
  return new MeshError('SOURCE_READ', `GET ${path}: the page was not complete after ${durationText(pageMs)}`)
}
