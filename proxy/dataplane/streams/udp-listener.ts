import type { RemoteInfo, Socket } from 'node:dgram'
import { once } from 'node:events'
import { isHealthy } from '../../model/backend.ts'
import type { Client } from '../../model/flow.ts'
import { refusal } from '../../model/refusal.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Listener } from '../engine.ts'
import type { FlowContext } from '../flow/flow-context.ts'
import { bindUdp } from './bind.ts'
import { maxQueuedBytes, Session, type UdpFrontend } from './udp-session.ts'

/** The UDP side of {@link Listener}: one bound socket and the sessions of its clients. */
export class UdpListener implements Listener, UdpFrontend {
  frontend: Frontend
  service: GlobalService
  readonly #context: FlowContext
  readonly #socket: Socket
  readonly #sessions = new Map<string, Session>()
  readonly #onClose: OnClose
  #closed = false

  constructor(context: FlowContext, socket: Socket, frontend: Frontend, service: GlobalService, onClose: OnClose) {
    this.frontend = frontend
    this.service = service
    this.#context = context
    this.#socket = socket
    this.#onClose = onClose
    socket.on('message', (message, from) => this.#received(message, from))
    socket.on('error', error => context.localFault(error))
  }

  static async open(
    context: FlowContext,
    frontend: Frontend,
    service: GlobalService,
    onClose: OnClose,
  ): Promise<UdpListener> {
    return new UdpListener(context, await bindUdp(frontend), frontend, service, onClose)
  }

  /**
   * Sessions stay where they are, unless their backend can no longer answer and another can (as kube-proxy flushes
   * conntrack: never for a backend that still serves, never when nobody is left).
   */
  update(frontend: Frontend, service: GlobalService): void {
    const moved = frontend.service !== this.frontend.service
    this.frontend = frontend
    this.service = service
    if (this.#sessions.size === 0) return
    const usable = new Set(frontend.backends.filter(isHealthy).map(b => b.key))
    if (usable.size === 0 && !moved) return
    for (const session of this.#sessions.values()) {
      if (session.backend && !usable.has(session.backend.key)) session.move()
    }
  }

  /** The address is free at once, so nothing can answer from it any more: its sessions end here, without drain. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#onClose(this)
    for (const session of [...this.#sessions.values()]) session.cut('removed')
    const closed = once(this.#socket, 'close')
    this.#socket.close()
    await closed
  }

  reply(message: Buffer, client: Client): void {
    if (this.#closed || this.#socket.getSendQueueSize() > maxQueuedBytes) return
    this.#socket.send(message, client.port, client.address)
  }

  left(session: Session): void {
    this.#sessions.delete(keyOf(session.client.address, session.client.port))
  }

  #received(message: Buffer, from: RemoteInfo): void {
    if (from.port === 0) return // RFC 768: from nowhere, and nobody can be answered there
    const key = keyOf(from.address, from.port)
    const session = this.#sessions.get(key) ?? this.#admit(key, from)
    session?.forward(message)
  }

  /**
   * At the limit the oldest session without any reply makes room, as in the kernel's conntrack: a flood of made-up
   * clients eats itself. When all are answered the new one is refused; a session in use is never put out.
   */
  #admit(key: string, { address, port }: RemoteInfo): Session | undefined {
    const { sessions, unanswered, options, chooser, draining } = this.#context
    const session = new Session(this.#context, this, { address, port })
    if (draining) {
      chooser.refused(session, refusal('draining', 'the proxy is shutting down'))
      return undefined
    }
    if (sessions.size >= options.limits.udpSessions) {
      const [oldest] = unanswered
      if (!oldest) {
        chooser.refused(session, refusal('limit', `${sessions.size} UDP sessions are open, the limit`))
        return undefined
      }
      oldest.evict()
    }
    sessions.add(session)
    unanswered.add(session)
    this.#sessions.set(key, session)
    return session
  }
}

type OnClose = (listener: UdpListener) => void

function keyOf(address: string, port: number): string {
  return `${address} ${port}`
}
