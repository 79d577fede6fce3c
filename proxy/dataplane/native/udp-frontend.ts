import { isHealthy } from '../../model/backend.ts'
import { type RefusalCode, refusal } from '../../model/refusal.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Listener } from '../engine.ts'
import { Command, type EventRecord } from './rings.ts'
import type { PumpContext } from './tcp-connection.ts'
import { NativeSession } from './udp-session.ts'

/** The UDP side of {@link Listener}: one bound socket of the pump, and the sessions of its clients. */
export class NativeUdpFrontend implements Listener {
  frontend: Frontend
  service: GlobalService
  readonly sessions = new Set<NativeSession>()
  closed = false
  /** Called when the pump has closed the socket. */
  freed: () => void = () => {}
  readonly #free: Promise<void>
  readonly #onClose: (listener: NativeUdpFrontend) => void

  constructor(frontend: Frontend, service: GlobalService, onClose: (listener: NativeUdpFrontend) => void) {
    this.frontend = frontend
    this.service = service
    this.#onClose = onClose
    this.#free = new Promise(resolve => {
      this.freed = resolve
    })
  }

  /**
   * Sessions stay where they are, unless their backend can no longer answer and another can (as kube-proxy flushes
   * conntrack: never for a backend that still serves, never when nobody is left).
   */
  update(frontend: Frontend, service: GlobalService): void {
    const moved = frontend.service !== this.frontend.service
    this.frontend = frontend
    this.service = service
    if (this.sessions.size === 0) return
    const usable = new Set(frontend.backends.filter(isHealthy).map(b => b.key))
    if (usable.size === 0 && !moved) return
    for (const session of this.sessions) {
      if (session.backend && !usable.has(session.backend.key)) session.move()
    }
  }

  /** The address is free at once, so nothing can answer from it any more: its sessions end here, without drain. */
  close(): Promise<void> {
    if (!this.closed) {
      this.closed = true
      for (const session of [...this.sessions]) session.cut('removed')
      this.#onClose(this)
    }
    return this.#free
  }
}

/** All UDP sessions of a pump, by slot. */
export class NativeSessions {
  readonly frontends = new Map<number, NativeUdpFrontend>()
  readonly #pump: PumpContext
  /** Until the pump has said its last word on them. */
  readonly #sessions: (NativeSession | undefined)[] = []

  constructor(pump: PumpContext) {
    this.#pump = pump
  }

  /** The session that an event is about. */
  of({ slot, generation }: EventRecord): NativeSession | undefined {
    const session = this.#sessions[slot]
    return session?.is(generation) ? session : undefined
  }

  /** Datagrams wait for a backend: of a session that has none, or of a client not seen before. */
  asked(event: EventRecord): void {
    const session = this.of(event) ?? this.#admit(event)
    session?.asked()
  }

  dropped(event: EventRecord): void {
    const session = this.of(event)
    if (!session) return
    this.#sessions[event.slot] = undefined
    session.dropped(event.sent(), event.received())
  }

  /**
   * At the limit the oldest session without any reply makes room, as in the kernel's conntrack: a flood of made-up
   * clients eats itself. When all are answered the new one is refused; a session in use is never put out.
   */
  #admit(event: EventRecord): NativeSession | undefined {
    const { slot, generation, port } = event
    const frontend = this.frontends.get(event.frontend)
    if (!frontend || frontend.closed) return undefined
    const { sessions, unanswered, options, chooser, draining } = this.#pump.context
    const session = new NativeSession(this.#pump, frontend, { address: event.address(), port }, slot, generation)
    const refuse = (code: RefusalCode, why: string) => {
      this.#pump.rings.command(Command.forget, slot, generation).send()
      chooser.refused(session, refusal(code, why))
      return undefined
    }
    if (draining) return refuse('draining', 'the proxy is shutting down')
    if (sessions.size >= options.limits.udpSessions) {
      const [oldest] = unanswered
      if (!oldest) return refuse('limit', `${sessions.size} UDP sessions are open, the limit`)
      oldest.evict()
    }
    this.#sessions[slot] = session
    sessions.add(session)
    unanswered.add(session)
    frontend.sessions.add(session)
    return session
  }
}
