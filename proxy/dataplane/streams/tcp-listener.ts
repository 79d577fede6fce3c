/** One listening socket of node:net. */
import type { Server, Socket } from 'node:net'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Passed } from '../../model/sockets/passing.ts'
import { ListenerState } from '../flow/listener-state.ts'
import type { OnClose } from '../flow/transport.ts'
import { bindTcp, duplicateOf } from './bind.ts'
import type { StreamsContext } from './streams-context.ts'
import { StreamsConnection } from './tcp-connection.ts'

export class TcpListener extends ListenerState {
  readonly #context: StreamsContext
  readonly #server: Server

  private constructor(
    context: StreamsContext,
    server: Server,
    frontend: Frontend,
    service: GlobalService,
    onClose: OnClose,
  ) {
    super(frontend, service, onClose)
    this.#context = context
    this.#server = server
    server.on('connection', (socket: Socket) => StreamsConnection.accept(context, this, socket))
    // accept(2) failed; the socket goes on listening.
    server.on('error', error => context.flows.localFault(error))
  }

  static async open(
    context: StreamsContext,
    frontend: Frontend,
    service: GlobalService,
    onClose: OnClose,
    passed?: Passed,
  ): Promise<TcpListener> {
    return new TcpListener(context, await bindTcp(frontend, passed), frontend, service, onClose)
  }

  /** Who has been accepted stays; the others wait in the backlog. */
  protected async give(): Promise<Passed> {
    const descriptor = duplicateOf(this.#server, this.#context.flows.calls)
    this.#server.close()
    return { descriptor, sessions: [] }
  }

  /** Node closes the listening socket at once; its own 'close' event would wait for the last connection. */
  protected async free(): Promise<void> {
    this.#server.close()
  }
}
