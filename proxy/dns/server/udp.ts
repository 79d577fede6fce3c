/** The UDP side: datagrams to the responder and its replies back. All of DNS's own sense is elsewhere. */
import { createSocket, type Socket } from 'node:dgram'
import { familyOf, unmapped } from '../../model/address.ts'
import type { Client } from '../../model/flow.ts'

export type Transport = 'udp' | 'tcp'

/** A message to its reply: at once, later, or never when it is undefined. Never throws and never rejects. */
export type Respond = (
  message: Buffer,
  client: Client,
  transport: Transport,
) => Buffer | undefined | Promise<Buffer | undefined>

/** The UDP side of the responder, whatever its socket is. */
export interface DatagramListener {
  /** Rejects with the error of the system. */
  bind(endpoint: Endpoint): Promise<Endpoint>
  /** Replies that could not be sent. */
  readonly sendErrors: number
  /** Hears nothing more, sends what is still being answered, then closes. */
  close(): Promise<void>
}

export interface Endpoint {
  readonly address: string
  readonly port: number
}

/** A peer under the one spelling of its address: no `::ffff:`, no `%eth0`. */
export function clientOf(address: string, port: number): Client {
  const zone = address.indexOf('%')
  return { address: unmapped(zone < 0 ? address : address.slice(0, zone)), port }
}

/** What the kernel may keep for us; it may allow less (`net.core.rmem_max`). */
export const receiveBytes = 4 << 20

export class UdpListener implements DatagramListener {
  readonly #socket: Socket
  readonly #respond: Respond
  #inFlight = 0
  #sendErrors = 0
  #drained: (() => void) | undefined
  #bound: Endpoint = { address: '', port: 0 }

  constructor(address: string, respond: Respond) {
    this.#respond = respond
    this.#socket = createSocket({
      type: familyOf(address) === 4 ? 'udp4' : 'udp6',
      recvBufferSize: receiveBytes,
      // Peers come as addresses: the resolver that dgram asks before each send would only cost a tick.
      lookup: (host, _options, done) => done(null, host, familyOf(host)),
    })
    // A reply that cannot be sent (the client's port is closed, its route is gone) concerns that client alone.
    this.#socket.on('error', () => this.#sendErrors++)
  }

  async bind(endpoint: Endpoint): Promise<Endpoint> {
    await new Promise<void>((resolve, reject) => {
      this.#socket.once('error', reject)
      this.#socket.bind({ address: endpoint.address, port: endpoint.port, exclusive: true }, () => {
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
    // Nobody listens on port 0, and what claims to come from ourselves would go round for ever.
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
