/** One listening socket of the pump. */

import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Passed } from '../../model/sockets/passing.ts'
import { ListenerState } from '../flow/listener-state.ts'
import type { OnClose } from '../flow/transport.ts'
import type { PumpSocket } from './pump-socket.ts'

export class NativeListener extends ListenerState {
  readonly socket: PumpSocket

  constructor(frontend: Frontend, service: GlobalService, socket: PumpSocket, onClose: OnClose) {
    super(frontend, service, onClose)
    this.socket = socket
  }

  protected async give(): Promise<Passed> {
    return { descriptor: await this.socket.pass(), sessions: [] }
  }

  protected free(): Promise<void> {
    return this.socket.close()
  }
}
