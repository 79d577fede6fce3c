/** What an engine supplies besides its flows: listeners, the look for idle flows, and the end of everything. */

import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Passed } from '../../model/sockets/passing.ts'
import type { ListenerState } from './listener-state.ts'
import type { UdpFrontend } from './udp-frontend.ts'

export interface Transport {
  /** Rejects with `MeshError` LISTEN. `onClose` is called when the listener closes: its flows should drain. */
  listenTcp(frontend: Frontend, service: GlobalService, onClose: OnClose, passed?: Passed): Promise<ListenerState>
  listenUdp(frontend: Frontend, service: GlobalService, onClose: OnClose, passed?: Passed): Promise<UdpFrontend>
  /** The options have been replaced. */
  configure(): void
  /** Ends idle flows; called about every second with the clock's time. */
  sweep(now: number): void
  /** All flows are cut by now. When this returns, their ends have been reported. */
  destroy(): void
}

export type OnClose = (listener: ListenerState) => void
