/** One bound UDP socket of the pump. */
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { OnClose } from '../flow/transport.ts'
import { UdpFrontend } from '../flow/udp-frontend.ts'
import type { PumpSocket } from './pump-socket.ts'

export class NativeUdpFrontend extends UdpFrontend {
  readonly socket: PumpSocket

  constructor(frontend: Frontend, service: GlobalService, socket: PumpSocket, onClose: OnClose) {
    super(frontend, service, onClose)
    this.socket = socket
  }

  protected free(): Promise<void> {
    return this.socket.close()
  }
}
