/** DNS over UDP on node:dgram: passes datagrams to the responder and sends its replies. */
import { createSocket, type Socket } from 'node:dgram'
import { familyOf, type SocketAddress } from '../../model/address.ts'
import type { Respond } from '../transport.ts'
import { clientOf } from './client-address.ts'

/** DNS over UDP, on either kind of socket. */
export interface DatagramListener {
  /** Rejects with the error of the system. */
  bind(local: SocketAddress): Promise<SocketAddress>
  /** Replies that could not be sent. */
  readonly sendErrors: number
  /** Stops receiving, sends pending replies, then closes. */
  close(): Promise<void>
}

/** Receive buffer to ask the kernel for; `net.core.rmem_max` may allow less. */
export const receiveBytes = 4 << 20

export class UdpListener implements DatagramListener {
  readonly #socket: Socket
  readonly #respond: Respond
  #inFlight = 0
  #sendErrors = 0
  #drained: (() => void) | undefined
  #bound: SocketAddress = { address: '', port: 0 }

  constructor(address: string, respond: Respond) {
    this.#respond = respond
    this.#socket = createSocket({
      type: familyOf(address) === 4 ? 'udp4' : 'udp6',
      recvBufferSize: receiveBytes,
      // Peers are addresses: the lookup that dgram does before each send would only cost a tick.
      lookup: (host, _options, done) => done(null, host, familyOf(host)),
    })
    // A reply that cannot be sent (closed port, no route) concerns that client alone.
    this.#socket.on('error', () => this.#sendErrors++)
  }

  async bind(local: SocketAddress): Promise<SocketAddress> {
    await new Promise<void>((resolve, reject) => {
      this.#socket.once('error', reject)
      this.#socket.bind({ address: local.address, port: local.port, exclusive: true }, () => {
        this.#socket.off('error', reject)
        resolve()
      })
    })
    const { address, port } = this.#socket.address()
    this.#bound = { address, port }
    this.#socket.on('message', (message, from) => this.#receive(message, from.address, from.port))
    return this.#bound
  }

  get sendErrors(): number {
    return this.#sendErrors
  }

  async close(): Promise<void> {
    this.#socket.removeAllListeners('message')
    if (this.#inFlight > 0) await new Promise<void>(resolve => (this.#drained = resolve))
    await new Promise<void>(resolve => this.#socket.close(resolve))
  }

  #receive(message: Buffer, address: string, port: number): void {
    // Port 0 cannot be answered, and a reply to our own address would loop for ever.
    if (port === 0 || (port === this.#bound.port && address === this.#bound.address)) return
    const reply = this.#respond(message, clientOf(address, port), 'udp')
    if (!reply) return
    if (reply instanceof Promise) this.#later(reply, address, port)
    else this.#socket.send(reply, port, address)
  }

  async #later(reply: Promise<Buffer | undefined>, address: string, port: number): Promise<void> {
    this.#inFlight++
    const bytes = await reply
    if (bytes) this.#socket.send(bytes, port, address)
    if (--this.#inFlight === 0) this.#drained?.()
  }
}
