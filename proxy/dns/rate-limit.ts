/**
 * Limits UDP replies per client (response rate limiting, as in BIND and Knot). The source of a datagram may be forged, and
 * our replies would then flood a victim: over the rate most are dropped, and every `slip`-th is an empty reply with TC set,
 * so that an honest client behind the same address retries over TCP.
 */
import { LRUCache } from 'lru-cache'
import { subscriberNetwork } from '../model/address.ts'
import { growing } from '../model/limits/growing.ts'
import type { Clock } from '../model/time/clock.ts'
import type { RateOptions } from './options.ts'

export type RateDecision = 'answer' | 'truncate' | 'drop'

interface Bucket {
  tokens: number
  at: number
  /** Queries over the rate since the last one that was answered. */
  over: number
}

export class RateLimit {
  readonly #options: RateOptions
  readonly #clock: Clock
  readonly #buckets: LRUCache<string, Bucket>

  constructor(options: RateOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
    this.#buckets = new LRUCache(growing(options.clients))
  }

  get enabled(): boolean {
    return this.#options.perSecond > 0
  }

  decide(address: string): RateDecision {
    const { perSecond, burst, slip } = this.#options
    const now = this.#clock.now()
    const bucket = this.#bucketOf(subscriberNetwork(address), now)
    bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) / 1000) * perSecond)
    bucket.at = now
    if (bucket.tokens >= 1) {
      bucket.tokens--
      bucket.over = 0
      return 'answer'
    }
    bucket.over++
    return slip > 0 && bucket.over % slip === 0 ? 'truncate' : 'drop'
  }

  #bucketOf(network: string, now: number): Bucket {
    const existing = this.#buckets.get(network)
    if (existing) return existing
    const bucket = { tokens: this.#options.burst, at: now, over: 0 }
    this.#buckets.set(network, bucket)
    return bucket
  }
}
