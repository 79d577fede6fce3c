/**
 * What other resolvers said, for as long as they allow (RFC 2181 8, 2308, 8767, 9520). An entry past its time stays for a
 * while as a stale answer, in case nobody answers any more; a failure never takes the place of an answer.
 */
import type { Clock } from '../../model/time/clock.ts'
import type { Query } from '../message/query.ts'
import { isUnchecked } from '../message/question.ts'
import { nameSlotOf, Shelf, type Shelved, slotOf } from '../message/question-cache.ts'
import type { Reply } from '../message/reply.ts'
import { rcodes } from '../message/wire.ts'
import type { CacheOptions } from '../options.ts'
import type { Digest } from './normalize.ts'

export interface Cached extends Shelved {
  readonly reply: Reply
  /** When it was learnt, and when it stops to be fresh; milliseconds of the clock. */
  readonly since: number
  readonly until: number
  readonly upstream: string
  hits: number
}

const overheadBytes = 400

export class Cache {
  readonly #shelf: Shelf<Cached>
  readonly #options: CacheOptions
  readonly #clock: Clock

  constructor(options: CacheOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
    this.#shelf = new Shelf({
      entries: Math.max(1, Math.floor(options.bytes / 512)),
      bytes: options.bytes,
      sizeOf: cached => cached.message.length + overheadBytes,
    })
  }

  get size(): number {
    return this.#shelf.size
  }

  get bytes(): number {
    return this.#shelf.bytes
  }

  /** Answers that left for want of room. */
  get evictions(): number {
    return this.#shelf.evictions
  }

  /** Fresh or stale, but never too old to serve. NXDOMAIN of the name stands for every type (RFC 2308 5). */
  get(query: Query): Cached | undefined {
    const variant = variantOf(query)
    const cached =
      this.#shelf.get(query, slotOf(query, variant)) ?? this.#shelf.getNamed(query, nameSlotOf(query, variant))
    return cached && cached.until + this.#options.staleMs > this.#clock.now() ? cached : undefined
  }

  /** Keeps a reply if it may be kept, and returns it in the form that is served either way. */
  put(query: Query, { reply, ttlSeconds }: Digest, upstream: string): Cached {
    const now = this.#clock.now()
    const cached: Cached = {
      message: reply.bytes,
      reply,
      since: now,
      until: now + ttlSeconds * 1000,
      upstream,
      hits: 0,
    }
    const variant = variantOf(query)
    const slots = { name: nameSlotOf(query, variant), type: slotOf(query, variant) }
    // Whatever was believed before is over: of this type, and of all types when the name was said to be missing.
    this.#shelf.delete(slots.name)
    this.#shelf.delete(slots.type)
    if (ttlSeconds > 0) this.#shelf.set(isMissing(reply) ? slots.name : slots.type, cached)
    return cached
  }
}

/** With an alias in front it is the alias's target that is missing: the name itself exists, as its CNAME (RFC 2308 2.1). */
function isMissing({ bytes, rcode }: Reply): boolean {
  return rcode === rcodes.NXDOMAIN && bytes.readUInt16BE(6) === 0
}

function variantOf(query: Query): number {
  return 1 + Number(query.dnssec) + 2 * Number(isUnchecked(query))
}
