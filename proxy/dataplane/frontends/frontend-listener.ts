/**
 * The listener of one frontend. It is open while the frontend has a backend that could ever be chosen, whatever its health;
 * otherwise it is closed on purpose, so that the kernel refuses clients as it does under kube-proxy: TCP with ECONNREFUSED,
 * UDP with an ICMP error. A listener that cannot be bound is tried again and again.
 */

import type { SocketAddress } from '../../model/address.ts'
import { isCandidate } from '../../model/backend.ts'
import { MeshError, messageOf, type Problem } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { PassedSocket } from '../../model/sockets/passing.ts'
import { doubled } from '../../model/time/backoff.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { Engine, Listener } from '../engine.ts'
import type { OpenFrontend } from './packet-rules.ts'
import { privatePort } from './private-port.ts'
import type { Steer } from './steer.ts'

const retry = { firstMs: 1000, longestMs: 30_000 }
/**
 * The last backend may be back at once, as in a restart: a TCP socket stays open for so long, and connections are reset meanwhile.
 * A UDP socket closes at once: datagrams that it took meanwhile would get no answer at all.
 */
const settleMs = 1000
/** Private ports that are tried before an attempt has failed. */
const maxPrivatePorts = 8

export interface FrontendListenerParts {
  readonly engine: Engine
  readonly clock: Clock
  readonly log: Log
  /** Clients are redirected: the listener takes a private port. */
  readonly redirects?: () => boolean
  /** The kernel leads clients to the listener, which is bound elsewhere. */
  readonly steer?: Steer | undefined
  /** It was opened, or closed on purpose. */
  readonly onChange: () => void
  /** It is time to call `open` again. */
  readonly onRetry: (listener: FrontendListener) => void
}

export class FrontendListener {
  readonly key: string
  readonly ip: string
  service: GlobalService
  /** Why it is not open; undefined while it is, and while it is closed on purpose. */
  problem: Problem | undefined
  readonly #parts: FrontendListenerParts
  #frontend: Frontend
  #open = false
  #bound: SocketAddress = { address: '', port: 0 }
  /** Open or paused. A paused one is kept, since flows may belong to it. */
  #listener: Listener | undefined
  #attempt: Promise<void> | undefined
  #pausing: Promise<void> | undefined
  #retryMs: number | undefined
  #cancelRetry: (() => void) | undefined
  #cancelPause: (() => void) | undefined
  #closed = false
  /** Its socket is with a successor, or on the way. */
  #isPassed = false

  constructor(parts: FrontendListenerParts, frontend: Frontend, service: GlobalService) {
    this.key = frontend.key
    this.ip = frontend.ip
    this.service = service
    this.#parts = parts
    this.#frontend = frontend
  }

  get listening(): boolean {
    return this.#open
  }

  /** For the packet rules; undefined while it is closed. */
  get openFrontend(): OpenFrontend | undefined {
    const { ip, port, protocol } = this.#frontend
    return this.#open ? { ip, port, protocol, boundPort: this.#bound.port } : undefined
  }

  get frontend(): Frontend {
    return this.#frontend
  }

  /** Closed on purpose: no backend could be chosen for any client. */
  get refusing(): boolean {
    return !this.#open && !this.#hasCandidate
  }

  /** Closed, and `open` should be called; false while a retry is due by itself. */
  get needsOpening(): boolean {
    return !this.#open && this.#hasCandidate && !this.#attempt && !this.problem && !this.#isPassed
  }

  /**
   * Tries once; if that fails, `onRetry` says when to try again. Does nothing while it should refuse. Never rejects. `passed`: the
   * socket of another process, or the one that was given to it and has come back.
   */
  open(passed?: PassedSocket): Promise<void> {
    if (this.#closed || this.#open || (this.#isPassed && !passed)) return Promise.resolve()
    if (!this.#hasCandidate && !passed) {
      this.#refuse()
      return Promise.resolve()
    }
    this.#isPassed = false
    this.#attempt ??= this.#listen(passed)
    return this.#attempt
  }

  /** Whether a socket of another process may be its own: without steering, it is bound to the frontend's address. */
  fits(bound: SocketAddress): boolean {
    const { steer } = this.#parts
    return steer?.active ? steer.fits(this.#frontend, bound) : bound.address === this.ip
  }

  /** Goes on after `pass`: with the socket, if it had one. */
  takeBack(passed: PassedSocket | undefined): Promise<void> {
    this.#isPassed = false
    return this.open(passed)
  }

  /** Gives the socket away; the flows in progress stay, but UDP sessions. Undefined if it is not open. */
  async pass(): Promise<PassedSocket | undefined> {
    this.#isPassed = true
    this.#cancelRetry?.()
    this.#cancelPause?.()
    this.#cancelPause = undefined
    await this.#attempt
    if (!this.#open || !this.#listener || this.#listener.closed) return undefined
    const passed = await this.#listener.pass()
    this.#open = false
    return { name: this.key, ...this.#bound, ...passed }
  }

  update(frontend: Frontend, service: GlobalService): void {
    this.#frontend = frontend
    this.service = service
    this.#listener?.update(frontend, service)
    this.#settle()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#cancelRetry?.()
    this.#cancelPause?.()
    this.#parts.steer?.gone(this.#frontend)
    if (this.#attempt) await this.#attempt
    this.#open = false
    await this.#listener?.close()
    this.#listener = undefined
  }

  get #hasCandidate(): boolean {
    return this.#frontend.backends.some(isCandidate)
  }

  async #listen(passed?: PassedSocket): Promise<void> {
    try {
      await this.#pausing
      const listener = await this.#bind(passed)
      listener.update(this.#frontend, this.service) // it may have changed while the socket was bound
      this.#listener = listener
      this.#open = true
      this.#opened()
    } catch (error) {
      this.#failed(error)
    }
    this.#attempt = undefined
    this.#settle()
  }

  async #bind(passed?: PassedSocket): Promise<Listener> {
    if (passed) return this.#listenAt(passed, passed)
    const { steer, redirects } = this.#parts
    const { ip, port } = this.#frontend
    const isPrivate = steer?.active || redirects?.()
    for (let attempt = 0; ; attempt++) {
      const place = steer?.active
        ? steer.placeOf(this.#frontend, attempt > 0 ? this.#bound.port : undefined)
        : { address: ip, port: isPrivate ? privatePort(this.#frontend, attempt) : port }
      try {
        return await this.#listenAt(place)
      } catch (error) {
        if (!isPrivate || attempt >= maxPrivatePorts) throw error
      }
    }
  }

  #listenAt({ address, port }: SocketAddress, passed?: PassedSocket): Promise<Listener> {
    this.#bound = { address, port }
    const { engine } = this.#parts
    return engine.listen({ ...this.#frontend, ip: address, port }, this.service, this.#listener, passed)
  }

  /** Clients are led to a port where nobody listens, since the kernel refuses them there. */
  #refuse(): void {
    const { steer } = this.#parts
    if (!steer?.active) return
    try {
      this.#bound = steer.placeOf(this.#frontend)
      steer.opened(this.#frontend, this.#bound)
    } catch (error) {
      this.#failed(error)
    }
  }

  /** Closes the listener after its last candidate has left; of TCP some time after, unless one comes meanwhile. */
  #settle(): void {
    if (this.#closed || this.#isPassed) return
    if (this.#hasCandidate) {
      this.#cancelPause?.()
      this.#cancelPause = undefined
      return
    }
    this.problem = undefined
    this.#cancelRetry?.()
    if (!this.#open) return
    if (this.#frontend.protocol === 'UDP' && !this.#listener?.holdsSessions) this.#pause()
    else this.#cancelPause ??= this.#parts.clock.after(settleMs, () => this.#pause())
  }

  #pause(): void {
    this.#cancelPause?.()
    this.#cancelPause = undefined
    // A backend that is only not ready keeps its UDP sessions, which need the socket.
    if (this.#listener?.holdsSessions) return this.#settle()
    this.#open = false
    this.#pausing = this.#listener?.pause()
    this.#parts.onChange()
    this.#parts.log.info('listener.refusing', { frontend: this.key, service: this.service.key })
  }

  #opened(): void {
    if (this.#closed) return
    this.#parts.steer?.opened(this.#frontend, this.#bound)
    if (this.problem || this.#pausing) {
      this.#parts.log.info('listener.open', { frontend: this.key, service: this.service.key })
    }
    this.problem = undefined
    this.#pausing = undefined
    this.#retryMs = undefined
    this.#parts.onChange()
  }

  #failed(error: unknown): void {
    if (this.#closed) return
    const code = error instanceof MeshError ? error.code : 'LISTEN'
    const message = messageOf(error)
    if (message !== this.problem?.message) {
      this.#parts.log.error('listener.failed', { frontend: this.key, service: this.service.key, why: message })
    }
    this.problem = { code, where: this.key, message }
    this.#retryMs = doubled(this.#retryMs, retry)
    this.#cancelRetry = this.#parts.clock.after(this.#retryMs, () => this.#parts.onRetry(this))
  }
}
