/**
 * Which upstream is asked, and which next. The longest matching route decides the resolvers; among them those that are
 * up, in the order of the policy; when none is up all are tried, since the checks may be the ones that err.
 *
 * An answer of SERVFAIL or REFUSED is a reason to ask another, as silence is: one resolver's trouble is not the name's.
 */

import type { Problem } from '../../model/error.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import type { Question } from '../message/question.ts'
import { rcodes } from '../message/wire.ts'
import type { ForwardOptions } from '../options.ts'
import type { Upstream } from './upstream.ts'

/** Resolvers for the names of one domain; the empty one is for all that have no other. */
export interface Route {
  readonly domain: string
  readonly upstreams: readonly Upstream[]
}

export type Outcome =
  | { readonly kind: 'reply'; readonly message: Buffer; readonly upstream: string }
  | { readonly kind: 'failure'; readonly why: string }

/** RFC 9520 3.1: no server is asked more often for one question. */
const triesPerUpstream = 3

export class Forwarder {
  readonly #options: ForwardOptions
  readonly #clock: Clock
  readonly #random: Random
  #routes: readonly Route[] = []
  #turn = 0
  #outlook = 0

  constructor(options: ForwardOptions, clock: Clock, random: Random) {
    this.#options = options
    this.#clock = clock
    this.#random = random
  }

  /** Longest domain first, so that the first match is the best. */
  set routes(routes: readonly Route[]) {
    this.#routes = [...routes].sort((a, b) => b.domain.length - a.domain.length)
    this.improved()
  }

  /** Another number whenever what failed before may succeed now. */
  get outlook(): number {
    return this.#outlook
  }

  /** An upstream answers again, or there are others. */
  improved(): void {
    this.#outlook++
  }

  get upstreams(): readonly Upstream[] {
    return [...new Set(this.#routes.flatMap(route => route.upstreams))]
  }

  routeOf(labels: readonly string[]): Route | undefined {
    const name = `.${labels.join('.')}`
    return this.#routes.find(({ domain }) => domain === '' || name.endsWith(`.${domain}`))
  }

  sawProbe(name: string): boolean {
    return this.upstreams.some(upstream => upstream.sawProbe(name))
  }

  /** Never rejects, and takes at most the total time. */
  async ask(asked: Question, route: Route): Promise<Outcome> {
    const deadline = this.#clock.now() + this.#options.totalMs
    const order = this.#order(route)
    let why = route.upstreams.length > 0 ? 'every upstream sends our questions back to us' : 'the route has no upstream'
    let last: Outcome | undefined
    const troubled = new Set<Upstream>()
    for (const upstream of order) {
      const left = deadline - this.#clock.now()
      if (left <= 0) break
      if (troubled.has(upstream)) continue
      try {
        const message = await upstream.ask(asked, Math.min(this.#options.tryMs, left))
        const reply: Outcome = { kind: 'reply', message, upstream: upstream.name }
        if (!isTrouble(message)) return reply
        troubled.add(upstream)
        last = reply
      } catch {
        why = `${upstream.name}: ${upstream.lastError}`
      }
    }
    return last ?? { kind: 'failure', why }
  }

  problems(): Problem[] {
    return this.#routes.flatMap(route => {
      const ailing = route.upstreams.filter(upstream => upstream.state !== 'up')
      return ailing.map(
        (upstream): Problem => ({
          code: 'DNS_UPSTREAM',
          where: upstream.name,
          message:
            upstream.state === 'loop'
              ? 'this resolver forwards our questions back to us; point dns.upstream at the one behind it'
              : `no answer (${upstream.lastError}); ${ailing.length === route.upstreams.length ? 'no other is left' : 'others answer meanwhile'}; check the address and the network, or take it out of dns.upstream`,
        }),
      )
    })
  }

  /** Each upstream up to three times, in rounds; those that look bad come only when there is no other. */
  #order(route: Route): Upstream[] {
    const usable = route.upstreams.filter(upstream => upstream.state !== 'loop')
    const up = usable.filter(upstream => upstream.state === 'up')
    const down = usable.filter(upstream => upstream.state === 'down')
    const first = up.length > 0 ? this.#arrange(up) : this.#shuffle(down)
    return Array.from({ length: triesPerUpstream }, () => first).flat()
  }

  #arrange(upstreams: readonly Upstream[]): readonly Upstream[] {
    if (this.#options.policy === 'random') return this.#shuffle(upstreams)
    if (this.#options.policy === 'sequential') return upstreams
    const start = this.#turn++ % upstreams.length
    return [...upstreams.slice(start), ...upstreams.slice(0, start)]
  }

  #shuffle(upstreams: readonly Upstream[]): readonly Upstream[] {
    return upstreams
      .map(upstream => ({ upstream, rank: this.#random() }))
      .sort((a, b) => a.rank - b.rank)
      .map(({ upstream }) => upstream)
  }
}

function isTrouble(message: Buffer): boolean {
  const rcode = (message[3] as number) & 0x0f
  return rcode !== rcodes.NOERROR && rcode !== rcodes.NXDOMAIN
}
