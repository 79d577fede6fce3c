/** DNS over UDP on node:dgram: passes datagrams to the responder and sends its replies. */
import { createSocket, type Socket } from 'node:dgram'
import { familyOf, type SocketAddress } from '../../model/address.ts'
import { descriptorOf, type Inherited, type PassedSocket, type PassingCalls } from '../../model/sockets/passing.ts'
import type { Respond } from '../transport.ts'
import { clientOf } from './client-address.ts'

/** DNS over UDP, on either kind of socket. */
export interface DatagramListener {
  /** Rejects with the error of the system. `inherited`: a socket that is there already, at that address, is used instead. */
  bind(local: SocketAddress, inherited: Inherited): Promise<SocketAddress>
  /** Descriptors of its sockets, for another process. Questions that were read are answered here; then it closes. */
  pass(calls: PassingCalls): PassedSocket[]
  /** Replies that could not be sent. */
  readonly sendErrors: number
  /** Stops receiving, sends pending replies, then closes. */
  close(): Promise<void>
}

/** The name by which sockets of the responder are passed. */
export const udpName = 'dns/UDP'

/** How long questions that wait for an upstream may hold a socket that was passed on. */
const passedMs = 5000

/** Receive buffer to ask the kernel for; `net.core.rmem_max` may allow less. */
export const receiveBytes = 4 << 20

export class UdpListener implements DatagramListener {
  readonly #socket: Socket
  readonly #respond: Respond
  #inFlight = 0
  #sendErrors = 0
  #drained: (() => void) | undefined
  #closing: Promise<void> | undefined
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

  async bind(local: SocketAddress, inherited: Inherited): Promise<SocketAddress> {
    const passed = inherited.take(udpName, local)
    const place = passed ? { fd: passed.descriptor } : { address: local.address, port: local.port }
    await new Promise<void>((resolve, reject) => {
      this.#socket.once('error', reject)
      this.#socket.bind({ ...place, exclusive: true }, () => {
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

  /** Both processes read from the socket for a moment, and each answers what it has read: none is lost. */
  pass(calls: PassingCalls): PassedSocket[] {
    const descriptor = calls.duplicate(descriptorOf(this.#socket) ?? -1)
    if (descriptor < 0) return []
    const wait = new Promise<void>(resolve => {
      if (this.#inFlight === 0) return resolve()
      this.#drained = resolve
      setTimeout(resolve, passedMs).unref()
    })
    this.#closing = wait.then(() => new Promise<void>(resolve => this.#socket.close(resolve)))
    return [{ name: udpName, ...this.#bound, descriptor, sessions: [] }]
  }

  async close(): Promise<void> {
    if (this.#closing) return this.#closing
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
