/** The bytes of one TCP connection over two sockets of node:net. */
import type { Socket } from 'node:net'
import type { Backend } from '../../model/backend.ts'
import type { CloseReason } from '../../model/flow.ts'
import { proxyHeader } from '../../model/sockets/proxy-header.ts'
import type { TunnelStream } from '../../model/tunnel/tunnels.ts'
import { FirstByte } from '../flow/first-byte.ts'
import { perConnection } from '../flow/limits/descriptors.ts'
import type { ListenerState } from '../flow/listener-state.ts'
import { TcpConnection } from '../flow/tcp-connection.ts'
import { Tunnelled } from '../flow/tunnelled.ts'
import { Inlet } from './buffers.ts'
import { dial } from './dial.ts'
import { Pipe } from './pipe.ts'
import type { StreamsContext } from './streams-context.ts'
import type { Turns } from './turns.ts'

/**
 * Probes of a silent connection begin after this, so that a peer that has vanished is noticed. libuv has ten of them sent, a
 * second apart: a backend whose host has died is found in 15 s.
 */
const keepAliveMs = { client: 180_000, backend: 5000 }
/** The dial was given up because its time was over; the outcome reported is a timeout. */
const gaveUp = new Error('the dial took too long')

export class StreamsConnection extends TcpConnection {
  readonly #socket: Socket
  readonly #inlet: Inlet
  readonly #turns: Turns
  #giveUp: (() => void) | undefined
  #pipe: Pipe | undefined
  #tunnelled: Tunnelled | undefined
  #progress = -1
  #quietSince = 0
  #keptAlive = false
  #firstByte: FirstByte | undefined

  private constructor(
    { flows, buffers, turns }: StreamsContext,
    listener: ListenerState,
    socket: Socket,
    address: string,
    port: number,
  ) {
    super(flows, listener, { address, port })
    this.#turns = turns
    this.#socket = socket
    this.#inlet = new Inlet(buffers)
    socket.on('error', () => this.#clientFailed())
  }

  /**
   * The client's socket has no `data` listener until a backend is connected: Node buffers up to its high-water mark and
   * then stops reading, so an impatient client costs 64 KiB, and a reset is noticed.
   */
  static accept(context: StreamsContext, listener: ListenerState, socket: Socket): void {
    const { remoteAddress, remotePort } = socket
    if (remoteAddress === undefined || remotePort === undefined) {
      socket.destroy() // its client has reset it meanwhile
      return
    }
    const connection = new StreamsConnection(context, listener, socket, remoteAddress, remotePort)
    const { held, descriptors } = context.flows
    if (held + perConnection <= descriptors.most) return connection.begin()
    socket.resetAndDestroy()
    connection.turnedAway()
  }

  override tick(now: number): void {
    const pipe = this.#pipe
    if (!pipe) {
      const limit = this.#tunnelled?.tick(now)
      if (limit) this.cut(limit)
      return
    }
    const { firstByteMs = 0 } = this.context.options
    if (firstByteMs > 0) {
      this.#firstByte ??= new FirstByte()
      if (this.#firstByte.isLate(now, firstByteMs, pipe.sent, pipe.received)) this.mute()
    }
    if (pipe.progress !== this.#progress) {
      this.#progress = pipe.progress
      this.#quietSince = now
      this.context.connections.active(this)
      this.carried(pipe.sent, pipe.received)
      return
    }
    if (!this.#keptAlive) {
      // Not at the start: short connections should not pay for system calls that only silent ones need.
      this.#keptAlive = true
      pipe.keepAlive(keepAliveMs.client, keepAliveMs.backend)
    }
    const { tcpMs, halfClosedMs } = this.context.options.idle
    const limit = pipe.halfClosed ? halfClosedMs : tcpMs
    if (limit > 0 && now - this.#quietSince >= limit) this.cut(pipe.halfClosed ? 'half-closed' : 'idle')
  }

  protected dial(backend: Backend): void {
    const { tunnels } = this.context
    if (tunnels?.carries(backend)) {
      this.#giveUp = tunnels.dial(backend, this.client, (error, stream) => {
        if (stream) this.#carryThrough(stream)
        else if (error) this.failed(error)
      })
      return
    }
    this.#giveUp = dial(backend, this.#inlet, (error, socket) => {
      if (socket) this.#carry(socket)
      else if (error) this.failed(error)
    })
  }

  protected hangUp(): void {
    this.#giveUp?.()
    this.failed(gaveUp)
  }

  protected reset(): void {
    this.#giveUp?.()
    this.#socket.resetAndDestroy()
    this.#inlet.release()
  }

  protected end(reason: CloseReason): void {
    this.#pipe?.cut(reason)
    this.#tunnelled?.cut(reason)
  }

  #carry(socket: Socket): void {
    this.#giveUp = undefined
    if (this.service.settings.sendProxy) socket.write(proxyHeader(this.client, this.frontend, socket.localAddress))
    this.connected()
    this.#quietSince = this.context.clock.now()
    const pipe = new Pipe(this.#socket, socket, this.#inlet, this.#turns, reason =>
      this.ended(reason, pipe.sent, pipe.received),
    )
    this.#pipe = pipe
  }

  #carryThrough(stream: TunnelStream): void {
    this.#giveUp = undefined
    this.connected()
    this.#tunnelled = new Tunnelled(this.context, this, this.#socket, stream, (reason, sent, received) => {
      this.#inlet.release()
      this.ended(reason, sent, received)
    })
  }

  #clientFailed(): void {
    if (this.#pipe) return this.#pipe.clientFailed()
    if (this.#tunnelled) return this.#tunnelled.clientFailed()
    this.#giveUp?.()
    this.#inlet.release()
    this.ended('client-reset', 0, 0)
  }
}
