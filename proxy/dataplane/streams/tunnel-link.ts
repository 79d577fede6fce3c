/** In the place of a UDP socket: the way of one attempt through a gateway. */
import type { Backend } from '../../model/backend.ts'
import type { Client } from '../../model/flow.ts'
import type { TunnelDatagrams, Tunnels } from '../../model/tunnel/tunnels.ts'
import type { BackendSocketEvents } from './backend-socket.ts'

export class TunnelLink {
  /** Bytes to the backend. */
  sent = 0
  /** Bytes from the backend. */
  received = 0
  readonly #way: TunnelDatagrams

  constructor(tunnels: Tunnels, backend: Backend, client: Client, events: BackendSocketEvents) {
    this.#way = tunnels.link(backend, client, {
      replied: message => {
        this.received += message.length
        events.replied(message)
      },
      opened() {},
      failed: (error, waiting) =>
        events.failed(
          error,
          waiting.map(message => Buffer.from(message)),
        ),
    })
  }

  send(message: Buffer): void {
    this.sent += message.length
    this.#way.send(message)
  }

  close(): void {
    this.#way.close()
  }
}
