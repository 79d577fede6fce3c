/** The datagrams of one UDP session: from its client to a socket of its own towards the backend, and back. */
import type { Backend } from '../../model/backend.ts'
import type { Client } from '../../model/flow.ts'
import type { FlowContext } from '../flow/flow-context.ts'
import { noDescriptor } from '../flow/outcome.ts'
import type { UdpFrontend } from '../flow/udp-frontend.ts'
import { idleLimitMs, UdpSession } from '../flow/udp-session.ts'
import { BackendSocket, type BackendSocketEvents } from './backend-socket.ts'
import { TunnelLink } from './tunnel-link.ts'

/** What a session needs of the listener it belongs to. */
export interface ReplySocket extends UdpFrontend {
  /** Sends to the client, from the frontend's address. */
  reply(message: Buffer, client: Client): void
  left(session: StreamsSession): void
}

/** Datagrams that are kept of a session that is held. */
const mostWaiting = 16

export class StreamsSession extends UdpSession implements BackendSocketEvents {
  declare readonly listener: ReplySocket
  #socket: BackendSocket | TunnelLink | undefined
  /** While it is held. */
  readonly #waiting: Buffer[] = []
  #moved = true
  #quietSince = 0

  constructor(context: FlowContext, listener: ReplySocket, client: Client) {
    super(context, listener, client)
  }

  /** A datagram of the client. */
  forward(message: Buffer): void {
    this.#moved = true
    if (!this.#socket) this.asked()
    if (this.#socket) this.#socket.send(message)
    else if (this.isHeld && this.#waiting.length < mostWaiting) this.#waiting.push(message)
  }

  replied(message: Buffer): void {
    this.#moved = true
    this.answered()
    this.listener.reply(message, this.client)
  }

  /** `waiting` has reached no backend; it goes to the next one at once. */
  failed(error: Error, waiting: readonly Buffer[]): void {
    const socket = this.#close()
    if (!socket) return
    this.linkEnded(error, socket.sent, socket.received)
    for (const message of waiting) if (this.share) this.forward(message)
  }

  override tick(now: number): void {
    if (this.#moved) {
      this.#moved = false
      this.context.sessions.active(this)
      this.#quietSince = now
      if (this.#socket) this.carried(this.#socket.sent, this.#socket.received)
      return
    }
    const limit = idleLimitMs(this.context)
    if (limit > 0 && now - this.#quietSince >= limit) this.quiet()
  }

  protected openLink(backend: Backend): Error | undefined {
    // The session itself is counted already.
    if (this.context.held > this.context.descriptors.most) return noDescriptor()
    const { tunnels } = this.context
    if (tunnels?.carries(backend)) {
      return this.#linked(new TunnelLink(tunnels, backend, this.client, this))
    }
    const socket = new BackendSocket(backend, this)
    return socket.open() ?? this.#linked(socket)
  }

  #linked(socket: BackendSocket | TunnelLink): undefined {
    this.#socket = socket
    for (const message of this.#waiting.splice(0)) socket.send(message)
  }

  protected closeLink(): void {
    const socket = this.#close()
    if (socket) this.linkEnded(undefined, socket.sent, socket.received)
  }

  protected forget(): void {
    this.closeLink()
    this.listener.left(this)
  }

  #close(): BackendSocket | TunnelLink | undefined {
    const socket = this.#socket
    this.#socket = undefined
    socket?.close()
    return socket
  }
}
