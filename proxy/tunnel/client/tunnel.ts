/**
 * One tunnel: a session of HTTP/2 over mutual TLS with a gateway of another cluster.
 *
 *     connecting ─▶ open ⇄ suspect ─▶ leaving ─▶ closed
 *
 * A tunnel is suspect when nothing has come from it for a while although something was due: new connections go to others, those in
 * progress wait. It is given up when it stays silent.
 */
import { constants } from 'node:http2'
import type { Socket } from 'node:net'
import { messageOf } from '../../model/error.ts'
import type { Clock } from '../../model/time/clock.ts'
import { gatewayOf } from '../../model/tunnel/identity.ts'
import { examine, examineAgain, type Presented, type Shown } from '../certificates/examine.ts'
import { keepsRoots, type Material } from '../certificates/material.ts'
import { streamsPerTunnel, streamWindow } from '../wire/settings.ts'
import { throughProxy } from './http-proxy.ts'
import type { Link, LinkEvents, LinkParts, LinkStream, RequestEvents } from './link.ts'
import { openLink } from './open-link.ts'

export interface TunnelParts extends LinkParts {
  readonly clock: Clock
}

export interface TunnelEvents {
  opened(): void
  /** It takes no new streams from now on, or takes them again. */
  changed(): void
  /** The last event. `why` is undefined if it was closed because nobody needs it. */
  closed(why: string | undefined): void
}

export type TunnelState = 'connecting' | 'open' | 'suspect' | 'leaving' | 'closed'

/** A connection to a gateway, TLS and HTTP/2 included, takes no longer. */
const connectMs = 5000
/** How often a tunnel is looked at. */
export const lookMs = 250
/** A ping that is not answered within this makes it suspect: 2 s after it died at the latest, if something was due. */
const suspectMs = 900
/** As long as a ztunnel waits. TCP doubles its pauses while packets are lost: after 10 s the next attempt may be seconds away. */
const giveUpMs = 30_000
/** One that is silent with nothing due is asked this often. */
const idlePingMs = 10_000

export class Tunnel {
  readonly parts: TunnelParts
  readonly since: number
  state: TunnelState = 'connecting'
  /** Open, and those that wait for their answer. */
  streams = 0
  roundTripMs: number | undefined
  shown: Shown | undefined
  /** What we have shown. */
  material: Material | undefined
  idleSince: number
  /** Its gateway has said that it stops. Perhaps another process listens there by now. */
  isStopping = false
  /** With the roots that the gateway's certificate leads to. */
  #rootsOf: Material | undefined
  readonly #events: TunnelEvents
  #link: Link | undefined
  #cancelConnect: () => void = () => {}
  #why: string | undefined
  #bytesRead = 0
  /** When something last came. */
  #bytesWritten = 0
  #dueSince = 0
  #heardAt: number
  #pingedAt: number | undefined
  #lookedAt: number
  #maxStreams = streamsPerTunnel
  #window = streamWindow(0)
  readonly #pending = new Set<() => void>()

  constructor(parts: TunnelParts, events: TunnelEvents) {
    this.parts = parts
    this.#events = events
    this.since = parts.clock.wall()
    this.#heardAt = parts.clock.now()
    this.#lookedAt = parts.clock.now()
    this.idleSince = parts.clock.now()
    this.#connect()
  }

  /** Whether it takes another stream. A session is closed before its GOAWAY is an event. */
  get hasRoom(): boolean {
    return this.state === 'open' && this.streams < this.#maxStreams && this.#link?.isOpen === true
  }

  /** See {@link Link}. */
  get localAddress(): string | undefined {
    return this.#link?.localAddress
  }

  /**
   * Opens a stream; `moved` is called once if its answer should not be waited for here: the tunnel is suspect or gone. Call the
   * function returned when the answer has come, or no longer matters. A stream that is no flow does not keep the tunnel.
   */
  open(
    headers: Readonly<Record<string, string>>,
    events: RequestEvents,
    moved: () => void,
    isFlow = true,
  ): { stream: LinkStream; settled: () => void } | undefined {
    const stream = this.#link?.request(headers, {
      answered: (status, reason, date) => events.answered(status, reason, date),
      closed: code => {
        this.#pending.delete(moved)
        if (isFlow) this.#left()
        events.closed(code)
      },
    })
    if (!stream) return undefined
    // What is due from now on is due from now, not since something came last.
    if (!this.#isDue) this.#dueSince = this.parts.clock.now()
    if (isFlow) this.streams++
    this.#pending.add(moved)
    return { stream, settled: () => this.#pending.delete(moved) }
  }

  /** One flow less. */
  #left(): void {
    this.streams--
    if (this.streams > 0) return
    this.idleSince = this.parts.clock.now()
    if (this.state === 'leaving') this.close(undefined)
  }

  /** Looks for life; called every {@link lookMs}. `inUse`: streams of the whole process, which share memory. */
  look(inUse: number): void {
    const link = this.#link
    const now = this.parts.clock.now()
    const pausedMs = Math.max(0, now - this.#lookedAt - lookMs)
    this.#lookedAt = now
    if (!link || this.state === 'connecting' || this.state === 'closed') return
    // While this process does not run, it reads no answers either: of that time only one interval counts.
    this.#dueSince += pausedMs
    if (this.#pingedAt !== undefined) this.#pingedAt += pausedMs
    const { received } = link.count()
    if (received !== this.#bytesRead) {
      this.#bytesRead = received
      this.#heard(now)
    }
    this.#fitWindow(inUse)
    const silentMs = now - this.#heardAt
    if (!this.#isDue) this.#dueSince = now
    if (this.#pingedAt === undefined) {
      if (now - this.#dueSince >= lookMs || silentMs >= idlePingMs) this.#ping(now)
      return
    }
    const waitedMs = now - this.#pingedAt
    if (waitedMs >= giveUpMs) this.close(`nothing has come from it for ${Math.round(silentMs / 1000)} s`)
    else if (waitedMs >= suspectMs && this.state === 'open') this.#suspect()
  }

  /** Whether the gateway's certificate would still be accepted; if not, closes the tunnel. */
  examineAgain(material: Material): void {
    const { shown, parts } = this
    if (!shown || this.state === 'closed') return
    const { identity } = parts
    const isRooted =
      this.#rootsOf !== undefined && keepsRoots(this.#rootsOf, material, identity.cluster, identity.trustDomain)
    const { why } = examineAgain(shown, material, id => gatewayOf(id, identity), parts.clock.wall(), isRooted)
    if (why === undefined) this.#rootsOf = material
    if (why !== undefined) this.close(why)
  }

  /** Takes no new streams, and closes with the last one. */
  leave(): void {
    if (this.state === 'closed' || this.state === 'leaving') return
    if (this.state === 'connecting' || this.streams === 0) return this.close(undefined)
    this.state = 'leaving'
    this.#events.changed()
  }

  /** Ends it now, with all its streams. */
  close(why: string | undefined): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.#cancelConnect()
    this.#link?.close()
    this.#moveAll()
    this.#events.closed(why ?? this.#why)
  }

  #connect(): void {
    const { gateway, credentials, clock } = this.parts
    this.material = credentials.material
    if (!this.material) {
      queueMicrotask(() => this.close('there is no usable certificate to show to it'))
      return
    }
    this.#cancelConnect = clock.after(connectMs, () => this.close(`no connection within ${connectMs} ms`))
    const { proxy } = gateway
    if (!proxy) return this.#secure(undefined)
    const stopTimer = this.#cancelConnect
    const cancel = throughProxy(gateway, proxy, (why, carrier) => {
      this.#cancelConnect = stopTimer
      if (!carrier) return this.close(why)
      this.#secure(carrier)
    })
    this.#cancelConnect = () => {
      stopTimer()
      cancel()
    }
  }

  /** `open`: a connection that leads to the gateway already. */
  #secure(open: Socket | undefined): void {
    const events: LinkEvents = {
      secured: presented => this.#secured(presented),
      ready: streams => this.#ready(streams),
      leaving: (code, text) => this.#onGoaway(code, text),
      ended: why => this.close(this.#why ?? why),
    }
    try {
      this.#link = openLink(this.parts, open, events)
    } catch (error) {
      open?.destroy()
      queueMicrotask(() => this.close(messageOf(error)))
    }
  }

  #secured(presented: Presented): boolean {
    const { material, parts } = this
    if (!material || this.state !== 'connecting') return false
    const found = examine(presented, material, id => gatewayOf(id, parts.identity), parts.clock.wall())
    if (found.why !== undefined) {
      parts.log.warn('tunnel.refused', { gateway: parts.gateway.text, cluster: parts.identity.cluster, why: found.why })
      this.close(found.why)
      return false
    }
    this.shown = found.shown
    this.#rootsOf = material
    return true
  }

  #ready(streams: number): void {
    if (this.state !== 'connecting' || this.#why !== undefined) return
    this.#maxStreams = Math.min(streamsPerTunnel, streams)
    if (this.#maxStreams === 0) return // it will say why
    this.#cancelConnect()
    this.state = 'open'
    this.#heard(this.parts.clock.now())
    this.#ping(this.parts.clock.now())
    this.#events.opened()
  }

  #onGoaway(code: number, data: string): void {
    const text = printable(data)
    if (code === constants.NGHTTP2_NO_ERROR) {
      this.isStopping = true
      if (this.state === 'connecting') return this.close('it is stopping')
      this.#why ??= 'it is stopping'
      this.leave()
      return
    }
    this.#why = text || `it ends the session with code ${code}`
    if (this.state === 'connecting') {
      this.parts.log.warn('tunnel.refused', {
        gateway: this.parts.gateway.text,
        cluster: this.parts.identity.cluster,
        why: this.#why,
      })
      this.close(this.#why)
    }
  }

  /** Whether something should come soon: an answer, or a sign that what was sent has arrived. */
  get #isDue(): boolean {
    return this.#pending.size > 0 || (this.#link?.count().sent ?? 0) > this.#bytesWritten
  }

  #ping(now: number): void {
    this.#pingedAt = now
    this.#link?.ping(ms => {
      this.roundTripMs = ms
      this.#heard(this.parts.clock.now())
    })
  }

  #heard(now: number): void {
    this.#heardAt = now
    this.#dueSince = now
    this.#pingedAt = undefined
    this.#bytesWritten = this.#link?.count().sent ?? 0
    if (this.state !== 'suspect') return
    this.state = 'open'
    this.#events.changed()
  }

  #suspect(): void {
    this.state = 'suspect'
    this.#moveAll()
    this.#events.changed()
  }

  /** As {@link streamWindow} says, for the streams of the whole process. */
  #fitWindow(inUse: number): void {
    const window = streamWindow(inUse)
    if (window === this.#window) return
    this.#window = window
    this.#link?.setWindow(window)
  }

  #moveAll(): void {
    const moved = [...this.#pending]
    this.#pending.clear()
    for (const move of moved) move()
  }
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 500)
}
