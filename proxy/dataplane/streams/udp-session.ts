/**
 * One UDP session: a client's address and port at one frontend. Every attempt is a connected socket of its own towards one
 * backend, so that only this backend's datagrams come back and an ICMP refusal is told to us (RFC 1122, 4.1.3.3).
 *
 * A session that loses its backend (refused, retired, no longer healthy) chooses again when its client next speaks.
 */
import type { Socket } from 'node:dgram'
import type { Backend } from '../../model/backend.ts'
import type { Client, CloseReason, Flow, Refusal, Result } from '../../model/flow.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { FlowContext, ListenerState, OpenSession } from '../flow/flow-context.ts'
import { endedUnanswered, madeRoom, nextChoice, noteUdpFailure, quietLimitMs } from '../flow/udp-attempt.ts'
import { udpSocket } from './bind.ts'
import { codeOf, outcomeOf } from './dial.ts'

/** Datagrams kept while the socket towards the backend is made; what comes beyond is lost, as UDP may. */
const maxWaiting = 8
/** Bytes that may wait in user space for a socket that does not take them. */
export const maxQueuedBytes = 1024 * 1024
const none: readonly string[] = []

/** What a session needs of the listener it belongs to. */
export interface UdpFrontend extends ListenerState {
  /** To the client, from the frontend's address. */
  reply(message: Buffer, client: Client): void
  left(session: Session): void
}

export class Session implements Flow, OpenSession {
  readonly id: number
  readonly client: Client
  readonly listener: UdpFrontend
  frontend: Frontend
  service: GlobalService
  tried = none
  backend: Backend | undefined = undefined
  readonly #context: FlowContext
  #upstream: BackendSocket | undefined
  #moved = true
  #quietSince = 0

  constructor(context: FlowContext, frontend: UdpFrontend, client: Client) {
    this.id = context.nextId()
    this.client = client
    this.listener = frontend
    this.frontend = frontend.frontend
    this.service = frontend.service
    this.#context = context
  }

  /** A datagram of the client. */
  forward(message: Buffer): void {
    this.#moved = true
    if (!this.#upstream) this.#attempt()
    this.#upstream?.send(message)
  }

  tick(now: number): void {
    if (this.#moved) {
      this.#moved = false
      this.#quietSince = now
      return
    }
    const limit = quietLimitMs(this.#context)
    if (limit === 0 || now - this.#quietSince < limit) return
    // Silence from a backend that has never answered is the only sign UDP gives of one that is not there.
    if (this.#context.draining) this.cut('shutdown')
    else this.#end('idle', 'timeout')
  }

  cut(reason: CloseReason): void {
    const answered = this.#upstream?.answered ?? true
    this.#end(reason, 'cancelled')
    if (!answered) this.#context.chooser.refused(this, endedUnanswered(reason))
  }

  /** Makes room for another session. */
  evict(): void {
    this.#settle('idle', { outcome: 'cancelled' })
    this.#refuse(madeRoom)
  }

  /** Leaves its backend; the next datagram goes to another. */
  move(): void {
    this.#settle('drained', { outcome: 'cancelled' })
  }

  #attempt(): void {
    const { chooser, clock } = this.#context
    const { backend, refusal } = nextChoice(this, this.#context)
    if (refusal) return this.#refuse(refusal)
    this.backend = backend
    chooser.connecting(this, backend)
    this.#upstream = new BackendSocket(backend, clock.now(), {
      replied: message => this.#replied(message),
      failed: (error, waiting) => this.#failed(error, waiting),
    })
    this.#upstream.open()
  }

  #replied(message: Buffer): void {
    this.#moved = true
    const upstream = this.#upstream
    if (upstream && !upstream.answered) this.#answered(upstream)
    this.listener.reply(message, this.client)
  }

  #answered(upstream: BackendSocket): void {
    const { chooser, clock, unanswered } = this.#context
    upstream.answered = true
    this.tried = none
    unanswered.delete(this)
    chooser.result(this, upstream.backend, { outcome: 'connected', ms: clock.now() - upstream.since })
  }

  /** `waiting` has not been sent to anyone: it is the next backend's, at once. */
  #failed(error: Error, waiting: readonly Buffer[]): void {
    const backend = this.#upstream?.backend
    if (!backend) return
    this.#settle('backend-reset', { outcome: outcomeOf(error), error })
    const refusal = noteUdpFailure(this, backend, error, this.#context)
    if (refusal) return this.#refuse(refusal)
    for (const message of waiting) if (this.#context.sessions.has(this)) this.forward(message)
  }

  #refuse(refusal: Refusal): void {
    this.#leave()
    this.#context.chooser.refused(this, refusal)
  }

  #end(reason: CloseReason, outcome: 'timeout' | 'cancelled'): void {
    this.#settle(reason, { outcome })
    this.#leave()
  }

  /** Ends the attempt, if there is one: closed when a reply had come, else its one result. */
  #settle(reason: CloseReason, result: { outcome: Exclude<Result['outcome'], 'connected'>; error?: Error }): void {
    const upstream = this.#upstream
    if (!upstream) return
    const { chooser, clock, unanswered } = this.#context
    const { backend, answered, sent, received, since } = upstream
    const ms = clock.now() - since
    this.#upstream = undefined
    this.backend = undefined
    upstream.close()
    unanswered.add(this)
    if (answered) chooser.closed(this, backend, { sent, received, ms, reason })
    else chooser.result(this, backend, { ...result, ms })
  }

  #leave(): void {
    this.#context.sessions.delete(this)
    this.#context.unanswered.delete(this)
    this.listener.left(this)
    this.#context.ended()
  }
}

interface Heard {
  replied(message: Buffer): void
  failed(error: Error, waiting: readonly Buffer[]): void
}

/** The socket of one attempt. After `close()` nothing is heard of it any more. */
class BackendSocket {
  readonly backend: Backend
  readonly since: number
  answered = false
  sent = 0
  received = 0
  readonly #socket: Socket
  readonly #heard: Heard
  #waiting: Buffer[] | undefined = []
  #closed = false

  constructor(backend: Backend, since: number, heard: Heard) {
    this.backend = backend
    this.since = since
    this.#heard = heard
    this.#socket = udpSocket(backend.address)
  }

  /** Bound first: a connect() that has to bind by itself cannot be closed when the binding fails. */
  open(): void {
    const socket = this.#socket
    socket.on('error', error => this.#fail(error))
    socket.on('message', message => {
      this.received += message.length
      this.#heard.replied(message)
    })
    const { address, port } = this.backend
    try {
      socket.bind({ port: 0, exclusive: true }, () => {
        socket.connect(port, address, (error?: Error) => (error ? this.#fail(error) : this.#flush()))
      })
    } catch (error) {
      this.#fail(error as Error) // an address or a port that cannot be
    }
  }

  send(message: Buffer): void {
    if (this.#closed) return
    if (this.#waiting) {
      if (this.#waiting.length < maxWaiting) this.#waiting.push(message)
      return
    }
    if (this.#socket.getSendQueueSize() > maxQueuedBytes) return
    this.sent += message.length
    // The kernel may tell of a refused datagram when the next one is sent, and only the callback hears of that.
    this.#socket.send(message, this.#onSent)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket.close()
  }

  readonly #onSent = (error: Error | null): void => {
    if (error) this.#fail(error)
  }

  #flush(): void {
    const waiting = this.#waiting ?? []
    this.#waiting = undefined
    for (const message of waiting) this.send(message)
  }

  #fail(error: Error): void {
    if (this.#closed || (!this.#waiting && passing.has(codeOf(error)))) return
    this.#heard.failed(error, this.#waiting ?? [])
  }
}

/** Errors of one datagram, too large or no room just now: it is lost, the session is not. */
const passing: ReadonlySet<string> = new Set(['EMSGSIZE', 'ENOBUFS', 'ENOMEM', 'EAGAIN'])
