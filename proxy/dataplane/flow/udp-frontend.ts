/** A UDP frontend: the listener's state, and the sessions of its clients. */
import { isHealthy } from '../../model/backend.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { OpenSession } from './flow-context.ts'
import { ListenerState } from './listener-state.ts'

export abstract class UdpFrontend extends ListenerState {
  readonly sessions = new Set<OpenSession>()

  /**
   * Sessions stay where they are, unless their backend can no longer answer and another can. kube-proxy flushes conntrack
   * by the same rule: never for a backend that still serves, never when no other is left.
   */
  override update(frontend: Frontend, service: GlobalService): void {
    const moved = frontend.service !== this.frontend.service
    super.update(frontend, service)
    if (this.sessions.size === 0) return
    const usable = new Set(frontend.backends.filter(isHealthy).map(backend => backend.key))
    if (usable.size === 0 && !moved) return
    for (const session of this.sessions) {
      if (session.backend && !usable.has(session.backend.key)) session.move()
    }
  }

  /** The address is free at once, so nothing can answer from it any more: its sessions end here, without drain. */
  override pause(): Promise<void> {
    for (const session of [...this.sessions]) session.cut('removed')
    return super.pause()
  }
}
