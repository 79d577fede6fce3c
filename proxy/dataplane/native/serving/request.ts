/** A request of another cluster in the pump of a gateway. */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { CloseReason } from '../../../model/flow.ts'
import { descriptorOf } from '../../../model/sockets/passing.ts'
import type { ServedBytes, ServedRequest } from '../../../model/tunnel/carrier.ts'
import type { NativePump } from '../addon.ts'
import { Command, Reason, type Rings } from '../rings.ts'
import { fieldsOf } from '../tunnels.ts'

export interface RequestCalls {
  readonly pump: NativePump
  readonly rings: Rings
  pair(): readonly [number, number] | number
  duplicate(descriptor: number): number
  forget(token: number): void
  isStopped(): boolean
}

/** RFC 9113, 7. */
const internalError = 2

export class PumpRequest implements ServedRequest {
  readonly headers: Readonly<Record<string, string>>
  readonly #calls: RequestCalls
  readonly #token: number
  #isOver = false
  #isBroken = false
  #listener: (() => void) | undefined
  #joined: Joined | undefined
  #bytes: Socket | undefined

  constructor(calls: RequestCalls, token: number, headers: Readonly<Record<string, string>>) {
    this.#calls = calls
    this.#token = token
    this.headers = headers
  }

  get isOver(): boolean {
    return this.#isOver
  }

  get isBroken(): boolean {
    return this.#isBroken
  }

  onEnd(listener: () => void): void {
    this.#listener = listener
  }

  respond(headers: Readonly<Record<string, string>>): void {
    this.#answer(headers, false)
  }

  refuse(headers: Readonly<Record<string, string>>): void {
    this.#answer(headers, true)
    this.#forget()
  }

  join(
    backend: Socket,
    headers: Readonly<Record<string, string>>,
    done: (reason: CloseReason | undefined) => void,
  ): ServedBytes {
    const joined = new Joined(done, () => this.#tellReset(internalError))
    this.#joined = joined
    const descriptor = this.#isOver ? -1 : this.#calls.duplicate(descriptorOf(backend) ?? -1)
    if (descriptor < 0) {
      const reason = this.#isOver ? 'client-reset' : 'backend-reset'
      this.#tellReset(internalError)
      this.#forget()
      backend.resetAndDestroy()
      queueMicrotask(() => joined.end(reason))
      return joined
    }
    backend.destroy()
    this.#answer(headers, false)
    this.#attach(descriptor, true)
    return joined
  }

  bytes(): Duplex {
    this.#bytes ??= this.#open()
    return this.#bytes
  }

  reset(code: number): void {
    if (this.#isOver) return
    this.#tellReset(code)
    this.#forget()
    this.#bytes?.destroy()
  }

  /** What the pump has passed on. */
  carried(sent: number, received: number, halfClosed: boolean): void {
    this.#joined?.carried(sent, received, halfClosed)
  }

  /** It has ended, and the socket that has taken it. */
  gone(reason: number, sent: number, received: number): void {
    this.#joined?.carried(sent, received, true)
    this.#isBroken = reason !== Reason.done
    // What has come before the end is still to be read.
    if (this.#isBroken) this.#bytes?.destroy()
    this.#end(reasons.get(reason))
  }

  /** It has ended before a socket has taken it. */
  lost(): void {
    this.#isBroken = true
    this.#bytes?.destroy()
    this.#end('client-reset')
  }

  #end(reason: CloseReason | undefined): void {
    this.#forget()
    this.#joined?.end(reason)
    this.#listener?.()
  }

  #forget(): void {
    this.#isOver = true
    this.#calls.forget(this.#token)
  }

  #answer(headers: Readonly<Record<string, string>>, isLast: boolean): void {
    if (this.#isOver || this.#calls.isStopped()) return
    this.#calls.pump.answerStream(this.#token, isLast, fieldsOf(headers))
    this.#calls.rings.wake()
  }

  #open(): Socket {
    const ends = this.#isOver ? -1 : this.#calls.pair()
    if (typeof ends === 'number') {
      const none = new Socket()
      none.on('error', () => {})
      none.destroy(new Error(`no sockets for a stream: errno ${-ends}`))
      this.reset(internalError)
      return none
    }
    const [near, far] = ends
    this.#attach(far, false)
    const socket = new Socket({ fd: near, readable: true, writable: true, allowHalfOpen: true })
    return socket.on('error', () => {})
  }

  #attach(descriptor: number, isBackend: boolean): void {
    this.#calls.rings.command(Command.attach, this.#token).setDescriptor(descriptor).setServed(isBackend).send()
  }

  #tellReset(code: number): void {
    if (!this.#isOver && !this.#calls.isStopped())
      this.#calls.rings.command(Command.resetStream, this.#token).setError(code).send()
  }
}

class Joined implements ServedBytes {
  sent = 0
  received = 0
  progress = 0
  halfClosed = false
  readonly cut: () => void
  #done: ((reason: CloseReason | undefined) => void) | undefined

  constructor(done: (reason: CloseReason | undefined) => void, cut: () => void) {
    this.#done = done
    this.cut = cut
  }

  carried(sent: number, received: number, halfClosed: boolean): void {
    this.sent = sent
    this.received = received
    this.halfClosed = halfClosed
    this.progress++
  }

  end(reason: CloseReason | undefined): void {
    const done = this.#done
    this.#done = undefined
    done?.(reason)
  }
}

/** One that ends for another reason was cut from here. */
const reasons: ReadonlyMap<number, CloseReason> = new Map([
  [Reason.done, 'done'],
  [Reason.clientReset, 'client-reset'],
  [Reason.backendReset, 'backend-reset'],
  [Reason.backendLost, 'backend-lost'],
])
