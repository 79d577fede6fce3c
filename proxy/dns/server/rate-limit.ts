/**
 * How many UDP replies a client gets (response rate limiting, as BIND and Knot have it). The source of a datagram may be
 * forged, so that our replies would go to a victim: over the rate most are dropped, and each `slip`-th is an empty reply
 * with TC, by which an honest client behind the same address comes again over TCP.
 */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../../model/time/clock.ts'
import type { RateOptions } from '../options.ts'

export type Verdict = 'answer' | 'truncate' | 'drop'

interface Bucket {
  tokens: number
  at: number
  over: number
}

export class RateLimit {
  readonly #options: RateOptions
  readonly #clock: Clock
  readonly #buckets: LRUCache<string, Bucket>

  constructor(options: RateOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
    this.#buckets = new LRUCache({ max: options.clients })
  }

  get enabled(): boolean {
    return this.#options.perSecond > 0
  }

  judge(address: string): Verdict {
    const { perSecond, burst, slip } = this.#options
    const now = this.#clock.now()
    const bucket = this.#bucketOf(networkOf(address), now)
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
    const known = this.#buckets.get(network)
    if (known) return known
    const bucket = { tokens: this.#options.burst, at: now, over: 0 }
    this.#buckets.set(network, bucket)
    return bucket
  }
}

/** Whoever has one IPv6 address has all of its /64. */
function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const [head = '', tail] = address.split('::')
  const groups = head.split(':')
  const missing = tail === undefined ? 0 : 8 - groups.length - tail.split(':').length
  return [...groups, ...Array.from({ length: missing }, () => '0'), ...(tail ?? '').split(':')].slice(0, 4).join(':')
}
