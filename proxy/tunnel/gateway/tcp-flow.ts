/** A CONNECT: a stream joined to a TCP connection to the backend. */
import { connect, type Socket } from 'node:net'
import type { Backend } from '../../model/backend.ts'
import type { CloseReason } from '../../model/flow.ts'
import type { ServedBytes } from '../../model/tunnel/carrier.ts'
import { outcomeOf } from '../wire/outcome.ts'
import { GatewayFlow } from './flow.ts'

/** Where the workload of double HBONE, or the ztunnel of its node, ends the inner tunnel. */
const innerPort = 15_008
/** Probes of a silent backend begin after this. */
const keepAliveMs = 5000

export class GatewayTcpFlow extends GatewayFlow {
  #socket: Socket | undefined
  #bytes: ServedBytes | undefined
  #cutFor: CloseReason | undefined
  #progress = -1
  #quietSince = 0

  tick(now: number): void {
    const bytes = this.#bytes
    if (!bytes) return
    if (bytes.progress !== this.#progress) {
      this.#progress = bytes.progress
      this.#quietSince = now
      this.context.streams.active(this.client.identity.cluster, this)
      this.carried(bytes.sent, bytes.received)
      return
    }
    const { tcpMs, halfClosedMs } = this.context.options.idle
    const limit = bytes.halfClosed ? halfClosedMs : tcpMs
    if (limit > 0 && now - this.#quietSince >= limit) this.cut(bytes.halfClosed ? 'half-closed' : 'idle')
  }

  protected dial({ address, port: own }: Backend): void {
    const port = this.client.double ? innerPort : own
    const socket = connect({ host: address, port, allowHalfOpen: true, noDelay: true, autoSelectFamily: false })
    // Whoever passes its bytes reads it first.
    socket.pause()
    const failed = (error: Error) => {
      socket.on('error', () => {})
      socket.destroy()
      this.failed(outcomeOf(error), error)
    }
    this.#socket = socket
    socket.once('error', failed)
    socket.once('connect', () => {
      if (socket.localPort === port && socket.localAddress === address) return failed(refused(address, port))
      socket.off('error', failed)
      this.#carry(socket)
    })
  }

  protected hangUp(): void {
    this.#socket?.on('error', () => {})
    this.#socket?.destroy()
  }

  protected cutBoth(reason: CloseReason): void {
    this.#cutFor = reason
    this.#bytes?.cut()
  }

  #carry(socket: Socket): void {
    this.connected()
    if (this.stream.isOver) {
      socket.on('error', () => {})
      socket.resetAndDestroy()
      return this.ended('client-reset', 0, 0)
    }
    socket.setKeepAlive(true, keepAliveMs)
    this.#quietSince = this.context.clock.now()
    const bytes = this.stream.join(socket, reason =>
      this.ended(reason ?? this.#cutFor ?? 'shutdown', bytes.sent, bytes.received),
    )
    this.#bytes = bytes
  }
}

/** A socket connected to itself: nobody listens there. */
function refused(address: string, port: number): Error {
  return Object.assign(new Error(`connect ECONNREFUSED ${address}:${port}`), { code: 'ECONNREFUSED' })
}
