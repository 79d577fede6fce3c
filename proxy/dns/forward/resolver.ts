/**
 * Resolves names outside our zones: from the cache or from an upstream, which is asked once for all clients that wait. An
 * expired answer is refreshed while the client waits a little, and served stale when that fails (RFC 8767).
 */
import { LRUCache } from 'lru-cache'
import { messageOf } from '../../model/error.ts'
import type { Client } from '../../model/flow.ts'
import { growing } from '../../model/limits/growing.ts'
import { doubled } from '../../model/time/backoff.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { NameAnswers } from '../../model/workloads/name-answers.ts'
import { addressesOf } from '../message/addresses.ts'
import { encodeReply, noRecords } from '../message/encode.ts'
import { copyQuery, labelsOf, type Query } from '../message/query.ts'
import { type Question, questionOf } from '../message/question.ts'
import { type Reply, staleReply } from '../message/reply.ts'
import { nameAt } from '../message/scan.ts'
import { extendedErrors, headerBytes, rcodes, types } from '../message/wire.ts'
import type { FullDnsOptions, IsTrusted } from '../options.ts'
import { type CachedReply, ReplyCache } from './cache.ts'
import type { Forwarder, Route } from './forwarder.ts'
import { normalize } from './normalize.ts'

export interface Resolved {
  readonly reply: Reply
  /** How long ago it was received, in whole seconds; to subtract from the TTLs. */
  readonly ageSeconds: number
  readonly from: 'cache' | 'stale' | 'upstream' | 'failure'
  /** The upstream it is from, or why there is none. */
  readonly detail: string
}

interface Failure {
  readonly until: number
  readonly pauseMs: number
  readonly why: string
  /** The forwarder's generation at the time; in another one the failure no longer counts. */
  readonly generation: number
}

/** A failure is cached, for twice as long each time (RFC 9520). */
const pause = { firstMs: 1000, longestMs: 30_000 }
const maxFailures = 10_000
const staleTtlSeconds = 30
/** The part of `concurrent` in use from which on each client gets no more than its share. */
const scarceFrom = 7 / 8
/** A name is in use when it was asked this often since it was received. */
const prefetchHits = 2

export class Resolver {
  readonly #forwarder: Forwarder
  readonly #cache: ReplyCache
  readonly #options: Pick<FullDnsOptions, 'forward' | 'cache'>
  readonly #isTrusted: IsTrusted
  readonly #clock: Clock
  readonly #names: NameAnswers
  readonly #pending = new Map<string, Promise<CachedReply | Failure>>()
  /** Questions in flight, by client. */
  readonly #waiting = new Map<string, number>()
  readonly #failures = new LRUCache<string, Failure>(growing(maxFailures))
  readonly counts = {
    hits: 0,
    denialHits: 0,
    misses: 0,
    stale: 0,
    prefetches: 0,
    coalesced: 0,
    refused: 0,
    failures: 0,
  }

  constructor(
    forwarder: Forwarder,
    options: Pick<FullDnsOptions, 'forward' | 'cache'>,
    isTrusted: IsTrusted,
    clock: Clock,
    names: NameAnswers = nobody,
  ) {
    this.#names = names
    this.#forwarder = forwarder
    this.#isTrusted = isTrusted
    this.#options = options
    this.#clock = clock
    this.#cache = new ReplyCache(options.cache, clock)
  }

  get inFlight(): number {
    return this.#pending.size
  }

  get cacheSize(): { readonly entries: number; readonly bytes: number; readonly evictions: number } {
    return { entries: this.#cache.size, bytes: this.#cache.bytes, evictions: this.#cache.evictions }
  }

  /** The fresh cached answer, if there is one. */
  cachedAnswer(query: Query): Resolved | undefined {
    const now = this.#clock.now()
    const cached = this.#cache.get(query)
    if (!cached || cached.until <= now) return undefined
    if (cached.reply.rcode === rcodes.NXDOMAIN) this.counts.denialHits++
    else this.counts.hits++
    cached.hits++
    if (cached.told !== this.#names.generation) this.#tell(cached, age(cached, now))
    if (this.#shouldPrefetch(cached, now)) this.#prefetch(query)
    return { reply: cached.reply, ageSeconds: age(cached, now), from: 'cache', detail: cached.upstream }
  }

  /** Whether this is a loop probe of ours that an upstream has sent back. */
  isLoopProbe(query: Query): boolean {
    return query.type === types.HINFO && this.#forwarder.detectLoop(labelsOf(query).join('.'))
  }

  /** Undefined when no route matches. Never rejects. The query's memory must not be reused until it settles. */
  resolve(query: Query, client: Client): Promise<Resolved> | undefined {
    const route = this.#forwarder.routeOf(labelsOf(query))
    if (!route) return undefined
    this.counts.misses++
    const waiting = this.#waiting.get(client.address) ?? 0
    if (waiting >= this.#shareOf(client)) {
      this.counts.refused++
      return Promise.resolve(this.#failed(query, `${waiting} questions of this client are in flight`, false))
    }
    this.#waiting.set(client.address, waiting + 1)
    return this.#resolve(query, route).finally(() => {
      const left = (this.#waiting.get(client.address) ?? 1) - 1
      if (left > 0) this.#waiting.set(client.address, left)
      else this.#waiting.delete(client.address)
    })
  }

  /**
   * The questions that a client may have in flight. A lone client may use nearly all; once the room is scarce, each gets an
   * equal part of it.
   */
  #shareOf({ address }: Client): number {
    const { concurrent, perClient = Number.POSITIVE_INFINITY } = this.#options.forward
    if (this.#isTrusted(address)) return Number.POSITIVE_INFINITY
    if (this.#pending.size < concurrent * scarceFrom) return perClient
    const clients = this.#waiting.size + (this.#waiting.has(address) ? 0 : 1)
    return Math.min(perClient, concurrent / (clients + 1))
  }

  async #resolve(query: Query, route: Route): Promise<Resolved> {
    const asked = questionOf(query)
    const stale = this.#cache.get(query)
    const failure = this.#failure(asked)
    if (!failure || failure.until <= this.#clock.now()) return this.#ask(query, asked, route, stale)
    return stale ? this.#stale(stale, failure.why) : this.#failed(query, failure.why, true)
  }

  async #ask(query: Query, asked: Question, route: Route, stale: CachedReply | undefined): Promise<Resolved> {
    const refreshed = this.#refresh(query, asked, route)
    const outcome = stale ? await this.#within(this.#options.cache.staleWaitMs, refreshed) : await refreshed
    if (outcome && 'reply' in outcome)
      return { reply: outcome.reply, ageSeconds: 0, from: 'upstream', detail: outcome.upstream }
    if (stale) return this.#stale(stale, outcome?.why ?? 'no answer yet')
    return this.#failed(query, outcome?.why ?? '', false)
  }

  /** At most one question in flight per key, for all clients. */
  #refresh(query: Query, asked: Question, route: Route): Promise<CachedReply | Failure> {
    const pending = this.#pending.get(asked.key)
    if (pending) {
      this.counts.coalesced++
      return pending
    }
    if (this.#pending.size >= this.#options.forward.concurrent) {
      this.counts.refused++
      const why = `${this.#pending.size} questions are in flight`
      return Promise.resolve({ until: 0, pauseMs: 0, why, generation: this.#forwarder.generation })
    }
    const refreshed = this.#fetch(query, asked, route)
      .catch(error => this.#noteFailure(asked, messageOf(error)))
      .finally(() => this.#pending.delete(asked.key))
    this.#pending.set(asked.key, refreshed)
    return refreshed
  }

  async #fetch(query: Query, asked: Question, route: Route): Promise<CachedReply | Failure> {
    const outcome = await this.#forwarder.ask(asked, route)
    const normalized = outcome.kind === 'reply' ? normalize(outcome.message, this.#options.cache) : undefined
    if (outcome.kind === 'reply' && normalized && isAnswer(normalized.reply)) {
      this.#failures.delete(asked.key)
      const cached = this.#cache.put(query, normalized, outcome.upstream)
      this.#tell(cached, 0)
      return cached
    }
    const why = outcome.kind === 'failure' ? outcome.why : `${outcome.upstream} answered with an error`
    return this.#noteFailure(asked, why)
  }

  /** Tells those who follow names, before any client has the answer. */
  #tell(cached: CachedReply, ageSeconds: number): void {
    cached.told = this.#names.generation
    const { reply } = cached
    if (cached.told === 0 || reply.rcode !== rcodes.NOERROR) return
    const name = nameAt(reply.bytes, headerBytes)
    if (name === undefined || !this.#names.wants(name)) return
    const { list: addresses, ttlSeconds } = addressesOf(reply)
    if (addresses.length > 0)
      this.#names.answered({ name, addresses, ttlSeconds: Math.max(0, ttlSeconds - ageSeconds) })
  }

  #noteFailure(asked: Question, why: string): Failure {
    this.counts.failures++
    const pauseMs = doubled(this.#failure(asked)?.pauseMs, pause)
    const failure = { until: this.#clock.now() + pauseMs, pauseMs, why, generation: this.#forwarder.generation }
    this.#failures.set(asked.key, failure)
    return failure
  }

  /** The cached failure, if no upstream has recovered since: an outage ends for all names at once. */
  #failure(asked: Question): Failure | undefined {
    const failure = this.#failures.get(asked.key)
    return failure?.generation === this.#forwarder.generation ? failure : undefined
  }

  #shouldPrefetch(cached: CachedReply, now: number): boolean {
    if (!this.#options.cache.prefetch || cached.hits < prefetchHits) return false
    return cached.until - now <= (cached.until - cached.since) / 10
  }

  #prefetch(query: Query): void {
    const asked = questionOf(query)
    const route = this.#forwarder.routeOf(labelsOf(query))
    if (!route || this.#pending.has(asked.key) || this.#failure(asked)) return
    this.counts.prefetches++
    // The socket may reuse the client's buffer before the answer comes.
    void this.#refresh(copyQuery(query), asked, route)
  }

  #stale(cached: CachedReply, why: string): Resolved {
    this.counts.stale++
    this.#tell(cached, 0)
    const denial = cached.reply.rcode === rcodes.NXDOMAIN
    const code = denial ? extendedErrors.staleNxdomain : extendedErrors.staleAnswer
    const reply = staleReply(cached.reply, staleTtlSeconds, { code, text: '' })
    return { reply, ageSeconds: 0, from: 'stale', detail: why }
  }

  #failed(query: Query, why: string, remembered: boolean): Resolved {
    const code = remembered ? extendedErrors.cachedError : extendedErrors.noReachableAuthority
    const extended = { code, text: 'no upstream resolver answers' }
    const reply = encodeReply(query, { authoritative: false, rcode: rcodes.SERVFAIL }, noRecords, extended)
    return { reply, ageSeconds: 0, from: 'failure', detail: why }
  }

  #within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
    return new Promise(resolve => {
      const stop = this.#clock.after(ms, () => resolve(undefined))
      void promise.then(value => {
        stop()
        resolve(value)
      })
    })
  }
}

const nobody: NameAnswers = { generation: 0, wants: () => false, answered() {} }

function isAnswer(reply: Reply): boolean {
  return reply.rcode === rcodes.NOERROR || reply.rcode === rcodes.NXDOMAIN
}

function age(cached: CachedReply, now: number): number {
  return Math.floor((now - cached.since) / 1000)
}
