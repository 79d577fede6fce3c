/** One bound socket of node:dgram, and the sessions of its clients by address and port. */
import type { RemoteInfo, Socket } from 'node:dgram'
import { once } from 'node:events'
import type { Client } from '../../model/flow.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { FlowContext } from '../flow/flow-context.ts'
import type { OnClose } from '../flow/transport.ts'
import { UdpFrontend } from '../flow/udp-frontend.ts'
import { bindUdp, maxQueuedBytes } from './bind.ts'
import { type ReplySocket, StreamsSession } from './udp-session.ts'

export class UdpListener extends UdpFrontend implements ReplySocket {
  readonly #context: FlowContext
  readonly #socket: Socket
  readonly #byClient = new Map<string, StreamsSession>()

  private constructor(
    context: FlowContext,
    socket: Socket,
    frontend: Frontend,
    service: GlobalService,
    onClose: OnClose,
  ) {
    super(frontend, service, onClose)
    this.#context = context
    this.#socket = socket
    socket.on('message', (message, from) => this.#received(message, from))
    socket.on('error', error => context.localFault(error))
  }

  static async open(
    context: FlowContext,
    frontend: Frontend,
    service: GlobalService,
    onClose: OnClose,
  ): Promise<UdpListener> {
    return new UdpListener(context, await bindUdp(frontend), frontend, service, onClose)
  }

  reply(message: Buffer, client: Client): void {
    if (this.closed || this.#socket.getSendQueueSize() > maxQueuedBytes) return
    this.#socket.send(message, client.port, client.address)
  }

  left(session: StreamsSession): void {
    this.#byClient.delete(keyOf(session.client))
  }

  protected async free(): Promise<void> {
    const closed = once(this.#socket, 'close')
    this.#socket.close()
    await closed
  }

  #received(message: Buffer, from: RemoteInfo): void {
    if (from.port === 0) return // RFC 768: no source port, so there is nobody to answer
    const session = this.#byClient.get(keyOf(from)) ?? this.#admit(from)
    session?.forward(message)
  }

  #admit({ address, port }: RemoteInfo): StreamsSession | undefined {
    const session = new StreamsSession(this.#context, this, { address, port })
    if (!session.begin()) return undefined
    this.#byClient.set(keyOf(session.client), session)
    return session
  }
}

function keyOf({ address, port }: Client): string {
  return `${address} ${port}`
}
