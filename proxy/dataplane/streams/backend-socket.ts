/** The UDP socket of one attempt: connected to the backend, and silent once it is closed. */
import type { Socket } from 'node:dgram'
import type { Backend } from '../../model/backend.ts'
import { codeOf } from '../flow/outcome.ts'
import { maxQueuedBytes, receiveBuffer, udpSocket } from './bind.ts'
import { meetsItself, refusedByItself } from './self.ts'

/** Datagrams kept while the socket is being connected; what comes beyond that is lost, as UDP may. */
const maxWaiting = 8
/** Errors of one datagram, too large or no room just now: it is lost, the session goes on. */
const passing: ReadonlySet<string> = new Set(['EMSGSIZE', 'ENOBUFS', 'ENOMEM', 'EAGAIN'])

/** The datagram has reached no program. */
const refuses: ReadonlySet<string> = new Set(['ECONNREFUSED', 'EHOSTUNREACH'])

export interface BackendSocketEvents {
  /** A datagram of the backend. */
  replied(message: Buffer): void
  /** The socket is of no more use. `waiting` has reached no program. */
  failed(error: Error, waiting: readonly Buffer[]): void
}

export class BackendSocket {
  /** Bytes to the backend. */
  sent = 0
  /** Bytes from the backend. */
  received = 0
  readonly #backend: Backend
  readonly #socket: Socket
  readonly #events: BackendSocketEvents
  #waiting: Buffer[] | undefined = []
  /** The only datagram sent, until there is an answer: where it is refused, it goes to the next backend. */
  #only: Buffer | undefined
  #opening = true
  #openError: Error | undefined
  #closed = false

  constructor(backend: Backend, events: BackendSocketEvents) {
    this.#backend = backend
    this.#events = events
    this.#socket = udpSocket(backend.address)
  }

  /**
   * Binds, then connects: a connect() that has to bind by itself cannot be closed when the binding fails. Returns an error,
   * and is closed, when that fails before the call returns, such as for an impossible port.
   */
  open(): Error | undefined {
    const socket = this.#socket
    socket.on('error', error => this.#fail(error))
    socket.on('message', message => {
      this.received += message.length
      this.#only = undefined
      this.#events.replied(message)
    })
    const { address, port } = this.#backend
    try {
      socket.bind({ port: 0, exclusive: true }, () => {
        socket.connect(port, address, (error?: Error) => this.#connected(error))
      })
    } catch (error) {
      this.#fail(error as Error)
    }
    this.#opening = false
    if (this.#openError) this.close()
    return this.#openError
  }

  send(message: Buffer): void {
    if (this.#closed) return
    if (this.#waiting) {
      if (this.#waiting.length < maxWaiting) this.#waiting.push(message)
      return
    }
    if (this.#socket.getSendQueueSize() > maxQueuedBytes) return
    this.#only = this.sent === 0 ? message : undefined
    this.sent += message.length
    // The kernel may report a refused datagram when the next one is sent, and only the callback gets that error.
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

  #connected(error: Error | undefined): void {
    if (this.#closed) return
    if (error) return this.#fail(error)
    this.#socket.setRecvBufferSize(receiveBuffer)
    const { port, address } = this.#socket.address()
    if (meetsItself(port, address, this.#backend)) this.#fail(refusedByItself(this.#backend))
    else this.#flush()
  }

  #flush(): void {
    const waiting = this.#waiting ?? []
    this.#waiting = undefined
    for (const message of waiting) this.send(message)
  }

  #fail(error: Error): void {
    if (this.#closed || (!this.#waiting && passing.has(codeOf(error)))) return
    if (this.#opening) this.#openError ??= error
    else this.#events.failed(error, this.#waiting ?? (this.#only && refuses.has(codeOf(error)) ? [this.#only] : []))
  }
}
