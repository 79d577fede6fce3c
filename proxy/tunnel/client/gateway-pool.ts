/** The tunnels to one gateway: one is kept open, more are opened while the others are full. */
import type { Log } from '../../model/log.ts'
import { Backoff } from '../../model/time/backoff.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import type { Carrier } from '../../model/tunnel/carrier.ts'
import type { ClusterIdentity } from '../../model/tunnel/identity.ts'
import type { TunnelView } from '../../model/views.ts'
import type { Credentials } from '../certificates/credentials.ts'
import { spiffeIdOf } from '../certificates/material.ts'
import { idleTunnelMs, streamsPerTunnel } from '../wire/settings.ts'
import type { GatewayAddress } from './link.ts'
import { Tunnel } from './tunnel.ts'

export interface PoolParts {
  readonly gateway: GatewayAddress
  readonly identity: ClusterIdentity
  readonly credentials: Credentials
  /** Who carries new tunnels; undefined: node:http2. */
  readonly carrier: () => Carrier | undefined
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** A tunnel takes streams again, or takes none any more. */
  readonly changed: () => void
}

/** Tunnels to one gateway at most; each has up to 100 streams. */
const maxTunnels = 16
/** Another tunnel is opened when each has so many. */
const spare = streamsPerTunnel * 0.8

export class GatewayPool {
  readonly #parts: PoolParts
  readonly #tunnels = new Set<Tunnel>()
  readonly #backoff: Backoff
  #cancelRetry: (() => void) | undefined
  /** The next attempt is the first one after a tunnel that was open. */
  #isBackSoon = false
  #openedAt = 0
  /** When the tunnels were last to be replaced, until that has succeeded. */
  #replacing: number | undefined
  /** Streams that have found no tunnel since the last one was opened. */
  #unserved = 0
  #since: number
  #error: string | undefined
  #closed = false

  constructor(parts: PoolParts) {
    this.#parts = parts
    this.#backoff = new Backoff(parts.random)
    this.#since = parts.clock.wall()
    this.#open()
  }

  get gateway(): GatewayAddress {
    return this.#parts.gateway
  }

  /** Why the last tunnel could not be opened or ended; undefined while one is open. */
  get error(): string | undefined {
    return this.#error
  }

  /** Whether a tunnel is being opened, or will be in a moment. */
  get connecting(): boolean {
    if (this.#isBackSoon) return true
    for (const { state } of this.#tunnels) if (state === 'connecting') return true
    return false
  }

  get streams(): number {
    let streams = 0
    for (const tunnel of this.#tunnels) streams += tunnel.streams
    return streams
  }

  /** The tunnel with the fewest streams that takes another; opens one more when all are nearly full. */
  pick(): Tunnel | undefined {
    let best: Tunnel | undefined
    for (const tunnel of this.#tunnels) {
      if (tunnel.hasRoom && tunnel.streams < (best?.streams ?? Number.POSITIVE_INFINITY)) best = tunnel
    }
    if (best && best.streams < spare) return best
    if (!best) this.#unserved++
    // One at a time, unless more wait than that one will take.
    const opening = [...this.#tunnels].filter(({ state }) => state === 'connecting').length
    const isEnough = opening > 0 && this.#unserved <= opening * spare
    if (!isEnough && !this.#cancelRetry && this.#tunnels.size < maxTunnels) this.#open()
    return best
  }

  /** Called every 250 ms. */
  look(inUse: number): void {
    const now = this.#parts.clock.now()
    const wall = this.#parts.clock.wall()
    for (const tunnel of this.#tunnels) tunnel.look(inUse)
    const open = [...this.#tunnels].filter(({ state }) => state === 'open')
    const expired = open.filter(({ shown }) => shown && shown.certificate.validToDate.getTime() < wall)
    if (expired.length > 0) this.#replace(expired)
    const idle = open.filter(({ streams, idleSince }) => streams === 0 && now - idleSince >= idleTunnelMs)
    for (const tunnel of idle.slice(0, open.length - 1)) tunnel.leave()
  }

  /** Our certificate or our roots are others now: new tunnels for new streams; who would be refused now is. */
  rotated(): void {
    const { material } = this.#parts.credentials
    if (material) for (const tunnel of [...this.#tunnels]) tunnel.examineAgain(material)
    const old = [...this.#tunnels].filter(tunnel => tunnel.material !== material)
    this.#replacing = undefined
    if (old.length > 0) this.#replace(old)
    else this.#retryNow()
  }

  /** Lets streams in progress go on in their tunnels. */
  leave(): void {
    this.#closed = true
    this.#isBackSoon = false
    this.#cancelRetry?.()
    for (const tunnel of [...this.#tunnels]) tunnel.leave()
  }

  destroy(): void {
    this.leave()
    for (const tunnel of [...this.#tunnels]) tunnel.close(undefined)
  }

  view(): TunnelView {
    const tunnels = [...this.#tunnels].filter(({ state }) => state !== 'connecting' && state !== 'closed')
    const open = tunnels.find(({ state }) => state === 'open')
    // One that only lets its streams end hides no reason why there is no other.
    const one = open ?? tunnels.find(({ state }) => state === 'suspect' || this.#error === undefined)
    const state = open ? 'open' : one ? 'suspect' : this.connecting && !this.#error ? 'connecting' : 'lost'
    const id = one?.shown && spiffeIdOf(one.shown.certificate)
    return {
      gateway: this.gateway.text,
      state,
      since: one ? one.since : this.#since,
      ...(state === 'lost' && this.#error ? { error: this.#error } : {}),
      tunnels: tunnels.length,
      streams: this.streams,
      ...(one?.roundTripMs === undefined ? {} : { roundTripMs: one.roundTripMs }),
      ...(one?.shown && id && 'id' in id
        ? { certificate: { id: id.id, validTo: one.shown.certificate.validToDate.getTime() } }
        : {}),
    }
  }

  /** Opens a new tunnel, and lets the old ones go once it is open. If that fails they stay, and it is tried again after a while. */
  #replace(old: readonly Tunnel[]): void {
    const now = this.#parts.clock.now()
    if (this.#replacing !== undefined && now - this.#replacing < replaceEveryMs) return
    this.#replacing = now
    this.#open(() => {
      for (const tunnel of old) tunnel.leave()
    })
  }

  #open(then: () => void = () => {}): void {
    if (this.#closed) return
    this.#cancelRetry?.()
    this.#cancelRetry = undefined
    this.#isBackSoon = false
    const { gateway, identity, credentials, carrier, clock, log, changed } = this.#parts
    const tunnel: Tunnel = new Tunnel(
      { gateway, identity, credentials, carrier, clock, log },
      {
        opened: () => {
          if (this.#error !== undefined || this.#openedAt === 0)
            log.info('tunnel.open', { cluster: identity.cluster, gateway: gateway.text })
          this.#replacing = undefined
          this.#unserved = 0
          this.#openedAt = clock.now()
          this.#error = undefined
          this.#since = clock.wall()
          then()
          changed()
        },
        changed,
        closed: why => {
          this.#tunnels.delete(tunnel)
          this.#ended(why)
        },
      },
    )
    this.#tunnels.add(tunnel)
  }

  #ended(why: string | undefined): void {
    const { clock, log, changed, gateway, identity } = this.#parts
    if (why !== undefined && this.#usable === 0) {
      if (this.#error !== why) log.warn('tunnel.lost', { cluster: identity.cluster, gateway: gateway.text, why })
      if (this.#error === undefined) this.#since = clock.wall()
      this.#error = why
    }
    if (!this.#closed && this.#usable === 0 && !this.connecting && !this.#cancelRetry) {
      // One that had been open is opened again at once, the first time.
      this.#isBackSoon = this.#openedAt > 0
      if (this.#isBackSoon) this.#backoff.lasted(clock.now() - this.#openedAt)
      const waitMs = Math.min(this.#backoff.next(), this.#isBackSoon ? firstRetryMs : longestRetryMs)
      this.#openedAt = 0
      this.#cancelRetry = clock.after(waitMs, () => this.#open())
    }
    changed()
  }

  get #usable(): number {
    let usable = 0
    for (const { state } of this.#tunnels) if (state === 'open' || state === 'suspect') usable++
    return usable
  }

  #retryNow(): void {
    if (this.#usable === 0 && !this.connecting) this.#open()
  }
}

/** Tunnels whose certificate has expired are in use until a new one is accepted. */
const replaceEveryMs = 10_000
/** A gateway that restarts is back soon. */
const firstRetryMs = 100
const longestRetryMs = 5000
