/**
 * The cache of upstream replies (RFC 2181 8, 2308, 8767, 9520). An expired entry stays for a while, to be served stale when
 * no upstream answers; a failure never replaces an answer.
 */
import type { Clock } from '../../model/time/clock.ts'
import type { Query } from '../message/query.ts'
import { flagsOf, variantOf } from '../message/question.ts'
import { type CacheEntry, missingNameHash, QuestionCache, questionHash } from '../message/question-cache.ts'
import type { Reply } from '../message/reply.ts'
import { rcodes } from '../message/wire.ts'
import type { CacheOptions } from '../options.ts'
import type { Normalized } from './normalize.ts'

export interface CachedReply extends CacheEntry {
  readonly reply: Reply
  /** When it was received and when its TTL ends; milliseconds of the clock. */
  readonly since: number
  readonly until: number
  readonly upstream: string
  /** Queries answered with it. */
  hits: number
  /** The generation of those who follow names that were told of it; 0: none was. */
  told: number
}

/** Memory of an entry besides its message, estimated. */
const overheadBytes = 400

export class ReplyCache {
  readonly #entries: QuestionCache<CachedReply>
  readonly #options: CacheOptions
  readonly #clock: Clock

  constructor(options: CacheOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
    this.#entries = new QuestionCache({
      entries: Math.max(1, Math.floor(options.bytes / 512)),
      bytes: options.bytes,
      sizeOf: cached => cached.message.length + overheadBytes,
    })
  }

  get size(): number {
    return this.#entries.size
  }

  get bytes(): number {
    return this.#entries.bytes
  }

  /** Entries removed to make room for others. */
  get evictions(): number {
    return this.#entries.evictions
  }

  /** The fresh or stale entry for a query; undefined when it is too old to serve. */
  get(query: Query): CachedReply | undefined {
    const flags = flagsOf(query)
    const own = this.#find(query, variantOf(flags))
    if (own || flags.authentic) return own
    // A reply to a query with AD serves those without it too: AD is cleared for them.
    return this.#find(query, variantOf({ ...flags, authentic: true }))
  }

  /** NXDOMAIN is for every type (RFC 2308 5). */
  #find(query: Query, variant: number): CachedReply | undefined {
    const cached =
      this.#entries.get(query, questionHash(query, 1 + variant)) ??
      this.#entries.getByName(query, missingNameHash(query, 1 + variant))
    return cached && cached.until + this.#options.staleMs > this.#clock.now() ? cached : undefined
  }

  /** Stores a reply if its TTL allows it; returns the entry either way. */
  put(query: Query, { reply, ttlSeconds }: Normalized, upstream: string): CachedReply {
    const now = this.#clock.now()
    const cached: CachedReply = {
      message: reply.bytes,
      reply,
      since: now,
      until: now + ttlSeconds * 1000,
      upstream,
      hits: 0,
      told: 0,
    }
    const variant = 1 + variantOf(flagsOf(query))
    const missingHash = missingNameHash(query, variant)
    const hash = questionHash(query, variant)
    // Replaces the answer of this type as well as an NXDOMAIN for all types.
    this.#entries.delete(missingHash)
    this.#entries.delete(hash)
    if (ttlSeconds > 0) this.#entries.set(isMissing(reply) ? missingHash : hash, cached)
    return cached
  }
}

/** NXDOMAIN after a CNAME is about the target; the name itself exists (RFC 2308 2.1). */
function isMissing({ bytes, rcode }: Reply): boolean {
  return rcode === rcodes.NXDOMAIN && bytes.readUInt16BE(6) === 0
}
