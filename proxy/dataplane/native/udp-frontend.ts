/** One bound UDP socket of the pump. */

import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Passed, PassedSession } from '../../model/sockets/passing.ts'
import type { OnClose } from '../flow/transport.ts'
import { UdpFrontend } from '../flow/udp-frontend.ts'
import type { PumpSocket } from './pump-socket.ts'

export class NativeUdpFrontend extends UdpFrontend {
  readonly socket: PumpSocket
  readonly #passed: PassedSession[] = []

  constructor(frontend: Frontend, service: GlobalService, socket: PumpSocket, onClose: OnClose) {
    super(frontend, service, onClose)
    this.socket = socket
  }

  /** A session whose link is ours now. */
  passed(session: PassedSession): void {
    this.#passed.push(session)
  }

  protected async give(): Promise<Passed> {
    return { descriptor: await this.socket.pass(), sessions: this.#passed }
  }

  override hold(): Promise<void> {
    return this.closed ? Promise.resolve() : this.socket.hold()
  }

  protected free(): Promise<void> {
    return this.socket.close()
  }
}
