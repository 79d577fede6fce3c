import type { Server, Socket } from 'node:net'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Listener } from '../engine.ts'
import type { FlowContext } from '../flow/flow-context.ts'
import { bindTcp } from './bind.ts'
import { Connection } from './tcp-connection.ts'

/** The TCP side of {@link Listener}: one listening socket. */
export class TcpListener implements Listener {
  frontend: Frontend
  service: GlobalService
  readonly #server: Server
  readonly #onClose: OnClose

  /** `onClose` is told when the address is free and the listener's flows should drain. */
  constructor(context: FlowContext, server: Server, frontend: Frontend, service: GlobalService, onClose: OnClose) {
    this.frontend = frontend
    this.service = service
    this.#server = server
    this.#onClose = onClose
    server.on('connection', (socket: Socket) => Connection.accept(context, this, socket))
    // accept(2) failed; the socket goes on listening.
    server.on('error', error => context.localFault(error))
  }

  static async open(
    context: FlowContext,
    frontend: Frontend,
    service: GlobalService,
    onClose: OnClose,
  ): Promise<TcpListener> {
    return new TcpListener(context, await bindTcp(frontend), frontend, service, onClose)
  }

  update(frontend: Frontend, service: GlobalService): void {
    this.frontend = frontend
    this.service = service
  }

  /** Node closes the listening socket at once; its own 'close' event would wait for the last connection. */
  async close(): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    this.#onClose(this)
  }
}

type OnClose = (listener: TcpListener) => void
