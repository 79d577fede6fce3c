/** An open connection whose bytes a tunnel carries, in any engine: looks for idleness, and for bytes of the backend. */
import type { Socket } from 'node:net'
import type { CloseReason } from '../../model/flow.ts'
import { proxyHeader } from '../../model/sockets/proxy-header.ts'
import type { Carriage, TunnelStream } from '../../model/tunnel/tunnels.ts'
import { FirstByte } from './first-byte.ts'
import type { FlowContext } from './flow-context.ts'
import type { TcpConnection } from './tcp-connection.ts'

/** Probes of a silent client begin after this; the tunnel finds out about the rest by itself. */
const keepAliveMs = 180_000

export class Tunnelled {
  readonly #context: FlowContext
  readonly #connection: TcpConnection
  readonly #carriage: Carriage
  #progress = -1
  #quietSince: number
  #keptAlive = false
  #firstByte: FirstByte | undefined

  /** `done` is called once, never before the constructor returns. */
  constructor(
    context: FlowContext,
    connection: TcpConnection,
    client: Socket,
    stream: TunnelStream,
    done: (reason: CloseReason, sent: number, received: number) => void,
  ) {
    this.#context = context
    this.#connection = connection
    this.#quietSince = context.clock.now()
    const { frontend, service } = connection
    if (service.settings.sendProxy) stream.write(proxyHeader(connection.client, frontend, stream.localAddress))
    const carriage = stream.carry(client, reason => done(reason, carriage.sent, carriage.received))
    this.#carriage = carriage
  }

  /** Why it should be ended now, if it has been idle for too long. */
  tick(now: number): 'idle' | 'half-closed' | undefined {
    const carriage = this.#carriage
    const { firstByteMs = 0 } = this.#context.options
    if (firstByteMs > 0) {
      this.#firstByte ??= new FirstByte()
      if (this.#firstByte.isLate(now, firstByteMs, carriage.sent, carriage.received)) this.#connection.mute()
    }
    if (carriage.progress !== this.#progress) {
      this.#progress = carriage.progress
      this.#quietSince = now
      this.#context.connections.active(this.#connection)
      this.#connection.carried(carriage.sent, carriage.received)
      return undefined
    }
    if (!this.#keptAlive) {
      this.#keptAlive = true
      carriage.keepAlive(keepAliveMs)
    }
    const { tcpMs, halfClosedMs } = this.#context.options.idle
    const limit = carriage.halfClosed ? halfClosedMs : tcpMs
    if (limit === 0 || now - this.#quietSince < limit) return undefined
    return carriage.halfClosed ? 'half-closed' : 'idle'
  }

  /** The client's socket has failed. */
  clientFailed(): void {
    this.#carriage.clientFailed()
  }

  cut(reason: CloseReason): void {
    this.#carriage.cut(reason)
  }
}
