/** A CONNECT-UDP (RFC 9298): datagrams of a stream, sent from a socket of their own to the backend, and its answers. */
import { createSocket, type Socket } from 'node:dgram'
import { familyOf } from '../../model/address.ts'
import type { Backend } from '../../model/backend.ts'
import type { CloseReason } from '../../model/flow.ts'
import { DatagramReader, encodeDatagram, encodeRefusal } from '../wire/datagrams.ts'
import { codeOf, outcomeOf } from '../wire/outcome.ts'
import { GatewayFlow } from './flow.ts'

/** Bytes that may wait for the tunnel; answers beyond that are lost, as UDP may. */
const maxQueued = 256 << 10
/** The datagram has reached no program. */
const refusing: ReadonlySet<string> = new Set(['ECONNREFUSED', 'EHOSTUNREACH'])
/** Errors of one datagram: it is lost, the flow goes on. */
const passing: ReadonlySet<string> = new Set(['EMSGSIZE', 'ENOBUFS', 'ENOMEM', 'EAGAIN'])

export class GatewayUdpFlow extends GatewayFlow {
  #socket: Socket | undefined
  #sent = 0
  #received = 0
  #moved = true
  #quietSince = 0

  tick(now: number): void {
    if (this.#moved) {
      this.#moved = false
      this.#quietSince = now
      this.context.streams.active(this.client.identity.cluster, this)
      this.carried(this.#sent, this.#received)
      return
    }
    const { udpMs } = this.context.options.idle
    if (this.isOpen && udpMs > 0 && now - this.#quietSince >= udpMs) this.cut('idle')
  }

  protected dial({ address, port }: Backend): void {
    const family = familyOf(address)
    // The address is a literal: resolving it here saves a turn of the event loop.
    const socket = createSocket({
      type: family === 4 ? 'udp4' : 'udp6',
      lookup: (literal, _options, found) => found(null, literal, family),
    })
    this.#socket = socket
    socket.on('error', error => this.#socketFailed(error))
    socket.bind({ port: 0, exclusive: true }, () => {
      socket.connect(port, address, ((error?: Error) => {
        if (error) return this.#socketFailed(error)
        if (this.#socket === socket) this.#carry(socket)
      }) as () => void)
    })
  }

  protected hangUp(): void {
    const socket = this.#socket
    this.#socket = undefined
    socket?.on('error', () => {})
    socket?.close()
  }

  protected cutBoth(reason: CloseReason): void {
    this.#end(reason)
  }

  #carry(socket: Socket): void {
    const { stream } = this
    this.connected()
    if (stream.isOver) return this.#end('client-reset')
    stream.respond({ ':status': '200', 'capsule-protocol': '?1' })
    const bytes = stream.bytes()
    const reader = new DatagramReader(payload => {
      this.#moved = true
      this.#sent += payload.length
      socket.send(payload, error => error && this.#socketFailed(error))
    })
    bytes.on('data', (chunk: Buffer) => {
      if (this.isOpen && !reader.push(chunk)) this.#end('client-reset')
    })
    bytes.on('end', () => this.#end('done'))
    bytes.on('close', () => this.#end(stream.isBroken ? 'client-reset' : 'done'))
    socket.on('message', message => {
      if (!this.isOpen || bytes.writableLength > maxQueued) return
      this.#moved = true
      this.#received += message.length
      bytes.write(encodeDatagram(message))
    })
  }

  #socketFailed(error: Error): void {
    if (!this.#socket) return
    if (!this.isOpen) {
      this.hangUp()
      return this.failed(outcomeOf(error), error)
    }
    const code = codeOf(error)
    if (refusing.has(code)) this.stream.bytes().write(encodeRefusal())
    if (!passing.has(code)) this.#end('backend-reset', refusing.has(code))
  }

  /** `isTold`: the other end learns of it by what was sent, and not by a reset, which might overtake that. */
  #end(reason: CloseReason, isTold = reason === 'done'): void {
    if (!this.#socket) return
    this.hangUp()
    if (isTold) this.stream.bytes().end()
    else this.stream.reset()
    this.stream.bytes().resume()
    this.ended(reason, this.#sent, this.#received)
  }
}
