/**
 * Names that are not ours: from the cache, or from an upstream, asked once however many clients wait. What is past its
 * time is asked for again while the client waits a little, and served stale if that comes to nothing (RFC 8767).
 */
import { LRUCache } from 'lru-cache'
import { messageOf } from '../../model/error.ts'
import type { Client } from '../../model/flow.ts'
import type { Clock } from '../../model/time/clock.ts'
import { encode } from '../message/encode.ts'
import { held, labelsOf, type Query } from '../message/query.ts'
import { type Question, questionOf } from '../message/question.ts'
import { type Reply, replyOf, staleReply } from '../message/reply.ts'
import { extendedErrors, headerBytes, rcodes, types } from '../message/wire.ts'
import type { Settled } from '../options.ts'
import { Cache, type Cached } from './cache.ts'
import type { Forwarder, Route } from './forwarder.ts'
import { digest } from './normalize.ts'

export interface Resolved {
  readonly reply: Reply
  /** How long ago it was learnt, in whole seconds, for the TTLs. */
  readonly ageSeconds: number
  readonly from: 'cache' | 'stale' | 'upstream' | 'failure'
  /** Who said it, or why nobody did. */
  readonly detail: string
}

interface Failure {
  readonly until: number
  readonly pauseMs: number
  readonly why: string
  /** Of the forwarder at the time: with another one it is no reason to wait any more. */
  readonly outlook: number
}

/** RFC 9520: a failure is remembered, for longer each time. */
const firstPauseMs = 1000
const lastPauseMs = 30_000
const mostFailures = 10_000
const staleTtlSeconds = 30
/** A name is in use when it was asked for this often since it was learnt. */
const prefetchHits = 2

export class Resolver {
  readonly #forwarder: Forwarder
  readonly #cache: Cache
  readonly #options: Pick<Settled, 'forward' | 'cache'>
  readonly #clock: Clock
  readonly #pending = new Map<string, Promise<Cached | Failure>>()
  /** Questions on their way, by client. */
  readonly #waiting = new Map<string, number>()
  readonly #failures = new LRUCache<string, Failure>({ max: mostFailures })
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

  constructor(forwarder: Forwarder, options: Pick<Settled, 'forward' | 'cache'>, clock: Clock) {
    this.#forwarder = forwarder
    this.#options = options
    this.#clock = clock
    this.#cache = new Cache(options.cache, clock)
  }

  get inFlight(): number {
    return this.#pending.size
  }

  get cached(): { readonly entries: number; readonly bytes: number; readonly evictions: number } {
    return { entries: this.#cache.size, bytes: this.#cache.bytes, evictions: this.#cache.evictions }
  }

  /** What the cache knows and may still say. */
  known(query: Query): Resolved | undefined {
    const now = this.#clock.now()
    const cached = this.#cache.get(query)
    if (!cached || cached.until <= now) return undefined
    if (cached.reply.rcode === rcodes.NXDOMAIN) this.counts.denialHits++
    else this.counts.hits++
    cached.hits++
    if (this.#nearItsEnd(cached, now)) this.#prefetch(query)
    return { reply: cached.reply, ageSeconds: age(cached, now), from: 'cache', detail: cached.upstream }
  }

  /** Whether this is a question that we sent out ourselves, to see if it comes back. */
  isProbe(query: Query): boolean {
    return query.type === types.HINFO && this.#forwarder.sawProbe(labelsOf(query).join('.'))
  }

  /** Undefined when no route leads to an upstream. Never rejects. The query must stay as it is until then. */
  resolve(query: Query, client: Client): Promise<Resolved> | undefined {
    const route = this.#forwarder.routeOf(labelsOf(query))
    if (!route) return undefined
    this.counts.misses++
    const waiting = this.#waiting.get(client.address) ?? 0
    if (waiting >= this.#options.forward.perClient) {
      this.counts.refused++
      return Promise.resolve(this.#failed(query, `${waiting} questions of this client are on their way`, false))
    }
    this.#waiting.set(client.address, waiting + 1)
    return this.#resolve(query, route).finally(() => {
      const left = (this.#waiting.get(client.address) ?? 1) - 1
      if (left > 0) this.#waiting.set(client.address, left)
      else this.#waiting.delete(client.address)
    })
  }

  async #resolve(query: Query, route: Route): Promise<Resolved> {
    const asked = questionOf(query)
    const stale = this.#cache.get(query)
    const failure = this.#failure(asked)
    if (!failure || failure.until <= this.#clock.now()) return this.#ask(query, asked, route, stale)
    return stale ? this.#stale(stale, failure.why) : this.#failed(query, failure.why, true)
  }

  async #ask(query: Query, asked: Question, route: Route, stale: Cached | undefined): Promise<Resolved> {
    const refreshed = this.#refresh(query, asked, route)
    const outcome = stale ? await this.#within(this.#options.cache.staleWaitMs, refreshed) : await refreshed
    if (outcome && 'reply' in outcome)
      return { reply: outcome.reply, ageSeconds: 0, from: 'upstream', detail: outcome.upstream }
    if (stale) return this.#stale(stale, outcome?.why ?? 'no answer yet')
    return this.#failed(query, outcome?.why ?? '', false)
  }

  /** One question to the upstreams at a time for each name, whoever asks. */
  #refresh(query: Query, asked: Question, route: Route): Promise<Cached | Failure> {
    const pending = this.#pending.get(asked.key)
    if (pending) {
      this.counts.coalesced++
      return pending
    }
    if (this.#pending.size >= this.#options.forward.concurrent) {
      this.counts.refused++
      const why = `${this.#pending.size} questions are on their way already`
      return Promise.resolve({ until: 0, pauseMs: 0, why, outlook: this.#forwarder.outlook })
    }
    const refreshed = this.#fetch(query, asked, route)
      .catch(error => this.#noteFailure(asked, messageOf(error)))
      .finally(() => this.#pending.delete(asked.key))
    this.#pending.set(asked.key, refreshed)
    return refreshed
  }

  async #fetch(query: Query, asked: Question, route: Route): Promise<Cached | Failure> {
    const outcome = await this.#forwarder.ask(asked, route)
    const found = outcome.kind === 'reply' ? digest(outcome.message, this.#options.cache) : undefined
    if (outcome.kind === 'reply' && found && isAnswer(found.reply)) {
      this.#failures.delete(asked.key)
      return this.#cache.put(query, found, outcome.upstream)
    }
    const why = outcome.kind === 'failure' ? outcome.why : `${outcome.upstream} answered with an error`
    return this.#noteFailure(asked, why)
  }

  #noteFailure(asked: Question, why: string): Failure {
    this.counts.failures++
    const before = this.#failure(asked)?.pauseMs
    const pauseMs = before === undefined ? firstPauseMs : Math.min(before * 2, lastPauseMs)
    const failure = { until: this.#clock.now() + pauseMs, pauseMs, why, outlook: this.#forwarder.outlook }
    this.#failures.set(asked.key, failure)
    return failure
  }

  /** What failed while nobody answered is asked again as soon as somebody does: an outage is over for all names at once. */
  #failure(asked: Question): Failure | undefined {
    const failure = this.#failures.get(asked.key)
    return failure?.outlook === this.#forwarder.outlook ? failure : undefined
  }

  #nearItsEnd(cached: Cached, now: number): boolean {
    if (!this.#options.cache.prefetch || cached.hits < prefetchHits) return false
    return cached.until - now <= (cached.until - cached.since) / 10
  }

  #prefetch(query: Query): void {
    const asked = questionOf(query)
    const route = this.#forwarder.routeOf(labelsOf(query))
    if (!route || this.#pending.has(asked.key) || this.#failure(asked)) return
    this.counts.prefetches++
    // The client's buffer may be gone by the time the answer comes.
    void this.#refresh(held(query), asked, route)
  }

  #stale(cached: Cached, why: string): Resolved {
    this.counts.stale++
    const denial = cached.reply.rcode === rcodes.NXDOMAIN
    const code = denial ? extendedErrors.staleNxdomain : extendedErrors.staleAnswer
    const reply = staleReply(cached.reply, staleTtlSeconds, { code, text: '' })
    return { reply, ageSeconds: 0, from: 'stale', detail: why }
  }

  #failed(query: Query, why: string, remembered: boolean): Resolved {
    const question = query.bytes.subarray(headerBytes, query.end)
    const bytes = encode(
      question,
      { authoritative: false, rcode: rcodes.SERVFAIL },
      { answers: [], authority: [], additional: [] },
    )
    const code = remembered ? extendedErrors.cachedError : extendedErrors.noReachableAuthority
    const reply = replyOf(bytes, query.end, { code, text: 'no upstream resolver answers' })
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

function isAnswer(reply: Reply): boolean {
  return reply.rcode === rcodes.NOERROR || reply.rcode === rcodes.NXDOMAIN
}

function age(cached: Cached, now: number): number {
  return Math.floor((now - cached.since) / 1000)
}
