/** The way to one cluster: its gateways, and what waits for a tunnel to one of them. */
import { constants } from 'node:http2'
import { isDeepStrictEqual } from 'node:util'
import type { Log } from '../../model/log.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import type { Carrier } from '../../model/tunnel/carrier.ts'
import type { ClusterIdentity } from '../../model/tunnel/identity.ts'
import type { TunnelView } from '../../model/views.ts'
import type { Credentials } from '../certificates/credentials.ts'
import { dialError } from '../wire/answers.ts'
import { GatewayPool } from './gateway-pool.ts'
import type { GatewayAddress, LinkStream, RequestEvents } from './link.ts'
import { lookMs, type Tunnel } from './tunnel.ts'

export interface RouteParts {
  readonly identity: ClusterIdentity
  readonly gateways: readonly GatewayAddress[]
  readonly credentials: Credentials
  /** Who carries new tunnels; undefined: node:http2. */
  readonly carrier: () => Carrier | undefined
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Streams of the whole process. */
  readonly inUse: () => number
  /** A gateway became reachable, or none is. */
  readonly changed: () => void
}

/** Of a request, by the address of this machine that its tunnel comes from. */
export type HeadersOf = (localAddress: string | undefined) => Readonly<Record<string, string>>

/** Who waits for the answer to a request. */
export interface Asking {
  /** 200. The stream is the receiver's from then on. */
  answered(stream: LinkStream): void
  failed(error: Error): void
}

export class Route {
  readonly #parts: RouteParts
  #pools: GatewayPool[] = []
  /** Of gateways that are no longer named: streams in progress go on. */
  #leaving: GatewayPool[] = []
  readonly #waiting = new Set<Request>()
  readonly #stop: () => void
  readonly #unwatch: () => void
  #turn = 0

  constructor(parts: RouteParts) {
    const { gateways, credentials, clock } = parts
    this.#parts = parts
    this.setGateways(gateways)
    this.#stop = clock.every(lookMs, () => this.#look())
    this.#unwatch = credentials.onChange(() => {
      for (const pool of this.#all) pool.rotated()
    })
  }

  get streams(): number {
    return this.#all.reduce((sum, pool) => sum + pool.streams, 0)
  }

  /** These gateways from now on. Those that stay keep their tunnels; the streams of the others go on to their end. */
  setGateways(gateways: readonly GatewayAddress[]): void {
    const { identity, credentials, carrier, clock, random, log } = this.#parts
    const known = this.#pools
    const changed = () => this.#changed()
    this.#pools = gateways.map(
      gateway =>
        known.find(pool => isDeepStrictEqual(pool.gateway, gateway)) ??
        new GatewayPool({ gateway, identity, credentials, carrier, clock, random, log, changed }),
    )
    const left = known.filter(pool => !this.#pools.includes(pool))
    this.#leaving.push(...left)
    for (const pool of left) pool.leave()
    if (known.length > 0) this.#changed()
  }

  get #all(): readonly GatewayPool[] {
    return this.#leaving.length === 0 ? this.#pools : [...this.#pools, ...this.#leaving]
  }

  /** Whether a tunnel to any gateway is open. */
  get isOpen(): boolean {
    return this.#pools.some(pool => pool.view().state === 'open')
  }

  /** Why no gateway can be reached; undefined while one can, or before that is known. */
  get failure(): string | undefined {
    if (this.#pools.some(pool => pool.error === undefined)) return undefined
    return this.#pools.map(({ gateway, error }) => `${gateway.text}: ${error}`).join('; ') || 'it has no gateway'
  }

  views(): TunnelView[] {
    return this.#pools.map(pool => pool.view())
  }

  /**
   * Sends a request through the tunnel with the fewest streams. While no answer has come, a tunnel that dies or falls silent is
   * left for another: nothing but the request has been sent. Returns a function that gives up without a call of `asking`.
   */
  request(headers: HeadersOf, asking: Asking, isFlow = true): () => void {
    const request = new Request(headers, asking, isFlow, without => this.#pick(without))
    // Never before the caller has the function returned.
    queueMicrotask(() => this.#try(request))
    return () => {
      this.#waiting.delete(request)
      request.abandon()
    }
  }

  leave(): void {
    this.#end()
    for (const pool of this.#all) pool.leave()
  }

  destroy(): void {
    this.#end()
    for (const pool of this.#all) pool.destroy()
  }

  #end(): void {
    this.#stop()
    this.#unwatch()
  }

  #try(request: Request): void {
    if (request.over) return
    this.#waiting.delete(request)
    const outcome = request.send(() => this.#try(request))
    if (outcome === 'sent') return
    // Every gateway that is up was tried, or none is up: one that is being connected may take it.
    if (this.#pools.some(pool => pool.connecting && !request.tried.has(pool.gateway.text))) {
      this.#waiting.add(request)
      return
    }
    const why = this.failure ?? request.why ?? `the tunnels to ${this.#parts.identity.cluster} are full or have died`
    request.fail(
      Object.assign(new Error(`no gateway of ${this.#parts.identity.cluster}: ${why}`), { code: 'ENETUNREACH' }),
    )
  }

  /** The tunnel with the fewest streams over all gateways; equal ones take turns. */
  #pick(without: ReadonlySet<string>): Tunnel | undefined {
    let best: Tunnel | undefined
    const count = this.#pools.length
    this.#turn = (this.#turn + 1) % Math.max(count, 1)
    for (let i = 0; i < count; i++) {
      const pool = this.#pools[(this.#turn + i) % count] as GatewayPool
      const tunnel = without.has(pool.gateway.text) ? undefined : pool.pick()
      if (tunnel && tunnel.streams < (best?.streams ?? Number.POSITIVE_INFINITY)) best = tunnel
    }
    return best
  }

  #look(): void {
    const inUse = this.#parts.inUse()
    for (const pool of this.#all) pool.look(inUse)
    if (this.#leaving.length > 0) this.#leaving = this.#leaving.filter(({ streams }) => streams > 0)
  }

  #changed(): void {
    for (const request of [...this.#waiting]) this.#try(request)
    this.#parts.changed()
  }
}

/** One request until its answer, over as many tunnels as it takes. */
class Request {
  over = false
  /** Gateways whose tunnel has died, or was silent, while the answer was due. */
  readonly tried = new Set<string>()
  /** How the last stream ended, if it had no answer. */
  why: string | undefined
  readonly #isFlow: boolean
  readonly #headers: HeadersOf
  readonly #asking: Asking
  readonly #pick: (without: ReadonlySet<string>) => Tunnel | undefined
  #stream: LinkStream | undefined
  #settled: () => void = () => {}
  #attempts = 0

  constructor(
    headers: HeadersOf,
    asking: Asking,
    isFlow: boolean,
    pick: (without: ReadonlySet<string>) => Tunnel | undefined,
  ) {
    this.#isFlow = isFlow
    this.#headers = headers
    this.#asking = asking
    this.#pick = pick
  }

  /** `again`: the tunnel is not to be waited for. */
  send(again: () => void): 'sent' | 'no tunnel' {
    const tunnel = this.#attempts < maxAttempts ? this.#pick(this.tried) : undefined
    if (!tunnel) return 'no tunnel'
    this.#attempts++
    const { text } = tunnel.parts.gateway
    let isOver = false
    let closedBy: number | undefined
    const move = () => {
      if (isOver || this.over) return
      isOver = true
      // Where a gateway hands over to another process, that one takes it (RFC 9113, 8.7: a refused stream was not processed).
      const isReplaced = tunnel.isStopping || closedBy === constants.NGHTTP2_REFUSED_STREAM
      if (!isReplaced) this.tried.add(text)
      if (closedBy === undefined) opened?.stream.close(constants.NGHTTP2_CANCEL)
      again()
    }
    const events: RequestEvents = {
      answered: (status, reason) => {
        if (isOver || this.over || !opened) return
        isOver = true
        this.over = true
        opened.settled()
        if (status === 200) return this.#asking.answered(opened.stream)
        opened.stream.close(constants.NGHTTP2_NO_ERROR)
        this.#asking.failed(dialError(status, reason))
      },
      closed: code => {
        closedBy = code
        if (isOver || this.over) return
        // The gateway has begun to leave, or is gone.
        this.why = `${text} ended the stream without an answer (code ${code})`
        move()
      },
    }
    const opened = tunnel.open(this.#headers(tunnel.localAddress), events, move, this.#isFlow)
    if (!opened) {
      if (!tunnel.isStopping) this.tried.add(text)
      return this.send(again)
    }
    this.#stream = opened.stream
    this.#settled = opened.settled
    return 'sent'
  }

  fail(error: Error): void {
    if (this.over) return
    this.over = true
    this.#settled()
    this.#asking.failed(error)
  }

  abandon(): void {
    if (this.over) return
    this.over = true
    this.#settled()
    this.#stream?.close(constants.NGHTTP2_CANCEL)
  }
}

/** Tunnels that one request may use up. */
const maxAttempts = 8
