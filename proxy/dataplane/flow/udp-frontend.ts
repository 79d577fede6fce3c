/** A UDP frontend: the listener's state, and the sessions of its clients. */
import { isBad, isHealthy } from '../../model/backend.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { OpenSession } from './flow-context.ts'
import { ListenerState } from './listener-state.ts'

export abstract class UdpFrontend extends ListenerState {
  readonly sessions = new Set<OpenSession>()

  override get holdsSessions(): boolean {
    if (this.sessions.size === 0) return false
    const listed = new Set(this.service.backends.map(({ key }) => key))
    return [...this.sessions].some(({ backend }) => backend !== undefined && listed.has(backend.key))
  }

  /**
   * Sessions stay where they are while their backend is listed, in any state, unless it is found dead and another is usable, or
   * the address goes to another service. A backend that is not listed keeps them only while no other is usable.
   */
  override update(frontend: Frontend, service: GlobalService): void {
    const moved = frontend.service !== this.frontend.service
    super.update(frontend, service)
    if (this.sessions.size === 0) return
    if (!moved && !frontend.backends.some(isHealthy)) return
    const kept = new Set(service.backends.filter(backend => !isBad(backend)).map(({ key }) => key))
    for (const session of this.sessions) {
      if (session.backend && !kept.has(session.backend.key)) session.move()
    }
  }

  /**
   * Reads no more: what clients send waits in the socket, which somebody else has open too. Resolves when all that was read is with its
   * session. Sessions go on, and their backends' datagrams leave by the socket until it is closed.
   */
  abstract hold(): Promise<void>

  /** The address is free at once, so nothing can answer from it any more: its sessions end here, without drain. */
  override pause(): Promise<void> {
    for (const session of [...this.sessions]) session.cut('removed')
    return super.pause()
  }
}
