/** One bound socket of node:dgram, and the sessions of its clients by address and port. */
import type { RemoteInfo, Socket } from 'node:dgram'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import type { Client } from '../../model/flow.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Passed, PassedSession } from '../../model/sockets/passing.ts'
import type { FlowContext } from '../flow/flow-context.ts'
import type { OnClose } from '../flow/transport.ts'
import { UdpFrontend } from '../flow/udp-frontend.ts'
import { bindUdp, duplicateOf, maxQueuedBytes } from './bind.ts'
import { type ReplySocket, StreamsSession } from './udp-session.ts'

export class UdpListener extends UdpFrontend implements ReplySocket {
  readonly #context: FlowContext
  readonly #socket: Socket
  readonly #byClient = new Map<string, StreamsSession>()
  /** The same socket once nothing is read from it any more: the last replies of our sessions leave by it. */
  #passed: number | undefined

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
    passed?: Passed,
  ): Promise<UdpListener> {
    const listener = new UdpListener(context, await bindUdp(frontend, passed), frontend, service, onClose)
    for (const session of passed?.sessions ?? []) listener.#resume(session)
    return listener
  }

  /** Their sockets stay here until the last reply: another process cannot connect them for node:dgram. */
  protected async give(): Promise<Passed> {
    const { calls } = this.#context
    const descriptor = duplicateOf(this.#socket, calls)
    this.#readNoMore()
    const sessions = [...this.#byClient.values()].flatMap(({ client, backend }) =>
      backend ? { client, backend: backend.key, answered: true, descriptor: undefined } : [],
    )
    return { descriptor, sessions }
  }

  /** Without the addon nobody else has the socket. */
  override async hold(): Promise<void> {
    if (!this.closed && this.#passed === undefined && this.#context.calls) this.#readNoMore()
  }

  /** What waits in it is not lost: the socket itself stays. */
  #readNoMore(): void {
    this.#passed = duplicateOf(this.#socket, this.#context.calls)
    this.#socket.close()
  }

  override close(): Promise<void> {
    const closed = super.close()
    if (this.#passed !== undefined) closeSync(this.#passed)
    this.#passed = undefined
    return closed
  }

  reply(message: Buffer, client: Client): void {
    if (this.#passed !== undefined) {
      this.#context.calls?.sendTo(this.#passed, message, client.address, client.port)
      return
    }
    if (this.closed || this.#socket.getSendQueueSize() > maxQueuedBytes) return
    this.#socket.send(message, client.port, client.address)
  }

  left(session: StreamsSession): void {
    this.#byClient.delete(keyOf(session.client))
  }

  protected async free(): Promise<void> {
    if (this.#passed !== undefined) return
    const closed = once(this.#socket, 'close')
    this.#socket.close()
    await closed
  }

  #resume({ client, backend: key, answered, descriptor }: PassedSession): void {
    if (descriptor !== undefined) closeSync(descriptor) // of another engine
    const backend = this.service.backends.find(backend => backend.key === key)
    if (!backend) return
    const session = new StreamsSession(this.#context, this, client)
    if (session.resume(backend, answered, false)) this.#byClient.set(keyOf(client), session)
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
