/**
 * Chooses the upstream for a question, and the next one after a failure. The longest matching route gives the resolvers;
 * those that are up are asked in the order of the policy. When none is up all are tried: assume the checks are wrong rather
 * than every resolver.
 *
 * SERVFAIL and REFUSED lead to the next resolver, as silence does: the fault may be the resolver's and not the name's.
 */
import type { Problem } from '../../model/error.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import type { Question } from '../message/question.ts'
import { rcodes } from '../message/wire.ts'
import type { ForwardOptions } from '../options.ts'
import type { Upstream } from './upstream.ts'

/** Resolvers for the names of one domain; the empty domain is for all other names. */
export interface Route {
  readonly domain: string
  readonly upstreams: readonly Upstream[]
}

export type ForwardResult =
  | { readonly kind: 'reply'; readonly message: Buffer; readonly upstream: string }
  | { readonly kind: 'failure'; readonly why: string }

/** No server is asked more often for one question (RFC 9520 3.1). */
const triesPerUpstream = 3

export class Forwarder {
  readonly #options: ForwardOptions
  readonly #clock: Clock
  readonly #random: Random
  #routes: readonly Route[] = []
  #turn = 0
  #generation = 0

  constructor(options: ForwardOptions, clock: Clock, random: Random) {
    this.#options = options
    this.#clock = clock
    this.#random = random
  }

  /** Kept with the longest domain first, so that the first match is the best. */
  set routes(routes: readonly Route[]) {
    this.#routes = [...routes].sort((a, b) => b.domain.length - a.domain.length)
    this.bumpGeneration()
  }

  /** Changes whenever a question that failed before may succeed now. */
  get generation(): number {
    return this.#generation
  }

  /** To call when an upstream answers again or the list of upstreams changes. */
  bumpGeneration(): void {
    this.#generation++
  }

  get upstreams(): readonly Upstream[] {
    return [...new Set(this.#routes.flatMap(route => route.upstreams))]
  }

  routeOf(labels: readonly string[]): Route | undefined {
    const name = `.${labels.join('.')}`
    return this.#routes.find(({ domain }) => domain === '' || name.endsWith(`.${domain}`))
  }

  /** Whether a question for the name is a loop probe of one of the upstreams, which is then marked as looping. */
  detectLoop(name: string): boolean {
    return this.upstreams.some(upstream => upstream.detectLoop(name))
  }

  /** Never rejects, and takes at most the total time. */
  async ask(asked: Question, route: Route): Promise<ForwardResult> {
    const deadline = this.#clock.now() + this.#options.totalMs
    const order = this.#order(route)
    let why = route.upstreams.length > 0 ? 'every upstream sends our queries back to us' : 'the route has no upstream'
    let last: ForwardResult | undefined
    const erring = new Set<Upstream>()
    for (const upstream of order) {
      const left = deadline - this.#clock.now()
      if (left <= 0) break
      if (erring.has(upstream)) continue
      try {
        const message = await upstream.ask(asked, Math.min(this.#options.tryMs, left))
        const reply: ForwardResult = { kind: 'reply', message, upstream: upstream.name }
        if (!isErrorReply(message)) return reply
        erring.add(upstream)
        last = reply
      } catch {
        why = `${upstream.name}: ${upstream.lastError}`
      }
    }
    return last ?? { kind: 'failure', why }
  }

  problems(): Problem[] {
    return this.#routes.flatMap(route => {
      const notUp = route.upstreams.filter(upstream => upstream.state !== 'up')
      return notUp.map(
        (upstream): Problem => ({
          code: 'DNS_UPSTREAM',
          where: upstream.name,
          message:
            upstream.state === 'loop'
              ? 'this resolver forwards our queries back to us; set dns.upstream to the resolver behind it'
              : `no answer (${upstream.lastError}); ${notUp.length === route.upstreams.length ? 'no other upstream is up' : 'other upstreams answer'}; check the address and the network, or remove it from dns.upstream`,
        }),
      )
    })
  }

  /** Every upstream that is up, three times in rounds; those that are down only when none is up. */
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

function isErrorReply(message: Buffer): boolean {
  const rcode = (message[3] as number) & 0x0f
  return rcode !== rcodes.NOERROR && rcode !== rcodes.NXDOMAIN
}
