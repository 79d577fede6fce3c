/** One TCP connection: choose, dial, again with another backend if that fails, carry, report. */
import type { Socket } from 'node:net'
import type { Backend } from '../../model/backend.ts'
import type { Client, CloseReason, Flow, Refusal } from '../../model/flow.ts'
import { refusal } from '../../model/refusal.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { FlowContext, ListenerState, OpenConnection } from '../flow/flow-context.ts'
import { type Failure, noteFailure } from '../flow/outcome.ts'
import { Inlet } from './buffers.ts'
import { dial } from './dial.ts'
import { Pipe } from './pipe.ts'

/** Probes of a silent connection begin after this, so that a peer that is gone without a word is found out. */
const keepAliveMs = 180_000
/** A connection without a byte for so long is between two messages, as far as anyone can tell. */
const quietMs = 1000
const none: readonly string[] = []

/** Is its own {@link Flow}: nothing is copied on the way. */
export class Connection implements Flow, OpenConnection {
  readonly id: number
  readonly client: Client
  frontend: Frontend
  service: GlobalService
  tried = none
  backend: Backend | undefined = undefined
  /** The listener it came by. */
  readonly listener: ListenerState
  readonly #context: FlowContext
  readonly #socket: Socket
  readonly #inlet: Inlet
  readonly #deadline: number
  #hangUp: (() => void) | undefined
  #pipe: Pipe | undefined
  #connectedAt = 0
  #progress = -1
  #quietSince = 0
  #keptAlive = false

  constructor(context: FlowContext, listener: ListenerState, socket: Socket, client: Client) {
    this.id = context.nextId()
    this.client = client
    this.frontend = listener.frontend
    this.service = listener.service
    this.#context = context
    this.listener = listener
    this.#socket = socket
    this.#inlet = new Inlet(context.buffers)
    this.#deadline = context.clock.now() + context.options.dial.budgetMs
  }

  /**
   * The client's socket has no `data` listener until a backend is connected: Node buffers up to its high-water mark and
   * then stops reading, so an impatient client costs 64 KiB, and a reset is noticed.
   */
  static accept(context: FlowContext, listener: ListenerState, socket: Socket): void {
    const { remoteAddress, remotePort } = socket
    if (remoteAddress === undefined || remotePort === undefined) {
      socket.destroy() // reset by its client before we came to it
      return
    }
    new Connection(context, listener, socket, { address: remoteAddress, port: remotePort }).#begin()
  }

  tick(now: number): void {
    const pipe = this.#pipe
    if (!pipe) return
    if (pipe.progress !== this.#progress) {
      this.#progress = pipe.progress
      this.#quietSince = now
      return
    }
    if (!this.#keptAlive) {
      // Not at the start: the many short connections need not pay for system calls that serve the silent ones.
      this.#keptAlive = true
      pipe.keepAlive(keepAliveMs)
    }
    const { tcpMs, halfClosedMs } = this.#context.options.idle
    const limit = pipe.halfClosed ? halfClosedMs : tcpMs
    if (limit > 0 && now - this.#quietSince >= limit) this.cut(pipe.halfClosed ? 'half-closed' : 'idle')
  }

  cut(reason: CloseReason): void {
    if (this.#pipe) this.#pipe.cut(reason, this.#moving(this.#pipe))
    else if (this.#hangUp) {
      this.#hangUp()
      this.#refuse(refusal('draining', `ended while its backend was dialled: ${reason}`))
    }
  }

  /** Whether new flows of its frontend may go to its backend as well: a backend that came back keeps its flows. */
  get wanted(): boolean {
    return this.listener.frontend.backends.some(b => b.key === this.backend?.key && b.state === 'active')
  }

  #begin(): void {
    const { connections, options } = this.#context
    this.#socket.on('error', () => this.#clientFailed())
    if (connections.size >= options.limits.connections) {
      return this.#refuse(refusal('limit', `${connections.size} connections are open, the limit`))
    }
    connections.add(this)
    this.#attempt()
  }

  #attempt(): void {
    const { chooser, clock, options } = this.#context
    const { backend, refusal } = chooser.choose(this)
    if (refusal) return this.#refuse(refusal)
    this.backend = backend
    chooser.connecting(this, backend)
    const timeoutMs = Math.min(options.dial.timeoutMs, this.#deadline - clock.now())
    this.#hangUp = dial({ backend, timeoutMs, onread: this.#inlet, clock }, (result, socket) => {
      this.#hangUp = undefined
      chooser.result(this, backend, result)
      if (socket) this.#carry(backend, socket)
      else if (result.outcome !== 'connected' && result.outcome !== 'cancelled') this.#again(backend, result)
    })
  }

  #again(backend: Backend, result: Failure): void {
    const refusal = noteFailure(this, backend, result, this.#deadline, this.#context)
    if (refusal) return this.#refuse(refusal)
    // Services are replaced while we dial; the next attempt goes by what is true now.
    this.frontend = this.listener.frontend
    this.service = this.listener.service
    this.#attempt()
  }

  #carry(backend: Backend, socket: Socket): void {
    const { chooser, clock } = this.#context
    this.#connectedAt = this.#quietSince = clock.now()
    const pipe = new Pipe(this.#socket, socket, this.#inlet, reason => {
      this.#leave()
      chooser.closed(this, backend, {
        sent: pipe.sent,
        received: pipe.received,
        ms: clock.now() - this.#connectedAt,
        reason,
      })
    })
    this.#pipe = pipe
  }

  #clientFailed(): void {
    if (this.#pipe) return this.#pipe.clientFailed()
    this.#hangUp?.()
    this.#inlet.release()
    this.#leave()
  }

  #refuse(refusal: Refusal): void {
    this.#socket.resetAndDestroy()
    this.#inlet.release()
    this.#leave()
    this.#context.chooser.refused(this, refusal)
  }

  #moving(pipe: Pipe): boolean {
    return pipe.progress !== this.#progress || this.#context.clock.now() - this.#quietSince < quietMs
  }

  #leave(): void {
    this.#context.connections.delete(this)
    this.#context.ended()
  }
}
