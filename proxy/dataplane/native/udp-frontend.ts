/** One bound UDP socket of the pump. */
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { OnClose } from '../flow/transport.ts'
import { UdpFrontend } from '../flow/udp-frontend.ts'

export class NativeUdpFrontend extends UdpFrontend {
  readonly #closeSocket: () => void
  readonly #freed = Promise.withResolvers<void>()

  /** `closeSocket` tells the pump to close the socket; {@link freed} is its answer. */
  constructor(frontend: Frontend, service: GlobalService, closeSocket: () => void, onClose: OnClose) {
    super(frontend, service, onClose)
    this.#closeSocket = closeSocket
  }

  /** The pump has closed the socket. */
  freed(): void {
    this.#freed.resolve()
  }

  protected free(): Promise<void> {
    this.#closeSocket()
    return this.#freed.promise
  }
}
