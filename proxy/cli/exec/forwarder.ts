/** A DNS forwarder on port 53 of a loopback address, for a responder at another port. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { pipeline } from 'node:stream'
import { familyOf } from '../../model/address.ts'

export interface Endpoint {
  readonly address: string
  readonly port: number
}

const dnsPort = 53
const attempts = 5
const idleMs = 30_000
const maxConnections = 100

/**
 * Forwards DNS over UDP and TCP to the responder, because resolv.conf cannot name a port. It listens on a random address of
 * 127.53.0.0/16, so that several can run at once.
 */
export class Forwarder {
  readonly address: string
  readonly #target: Endpoint
  readonly #front: UdpSocket
  readonly #back: UdpSocket
  readonly #tcp: Server
  readonly #connections = new Set<Socket>()
  /** The client and its query id, by the id sent to the responder: a ring in which new queries overwrite old ones. */
  readonly #asked: { id: number; port: number; address: string }[] = []
  #next = 0

  private constructor(address: string, target: Endpoint) {
    this.address = address
    this.#target = target
    this.#front = createSocket('udp4').on('error', () => {})
    // The responder may be restarting; the client retries.
    this.#back = createSocket(familyOf(target.address) === 6 ? 'udp6' : 'udp4').on('error', () => {})
    this.#tcp = createServer({ allowHalfOpen: true }, client => this.#pipe(client))
    this.#tcp.maxConnections = maxConnections
    this.#front.on('message', (question, { address, port }) => this.#ask(question, address, port))
    this.#back.on('message', answer => this.#answer(answer))
  }

  /** Undefined when this user may not bind port 53, or when it is taken on every address tried. */
  static async open(target: Endpoint, random = Math.random): Promise<Forwarder | undefined> {
    for (let i = 0; i < attempts; i++) {
      const byte = () => 1 + Math.floor(random() * 254)
      const forwarder = new Forwarder(`127.53.${byte()}.${byte()}`, target)
      try {
        await forwarder.#bind()
        return forwarder
      } catch (error) {
        forwarder.close()
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') return undefined
      }
    }
    return undefined
  }

  close(): void {
    this.#front.close()
    this.#back.close()
    this.#tcp.close()
    for (const socket of this.#connections) socket.destroy()
  }

  async #bind(): Promise<void> {
    const { address, port } = this.#target
    this.#front.bind(dnsPort, this.address)
    this.#back.connect(port, address)
    this.#tcp.listen(dnsPort, this.address)
    await Promise.all([once(this.#front, 'listening'), once(this.#back, 'connect'), once(this.#tcp, 'listening')])
  }

  #ask(question: Buffer, address: string, port: number): void {
    if (question.length < 12) return
    const id = this.#next
    this.#next = (id + 1) & 0xffff
    this.#asked[id] = { id: question.readUInt16BE(0), address, port }
    question.writeUInt16BE(id, 0)
    this.#back.send(question)
  }

  #answer(answer: Buffer): void {
    const asked = answer.length < 12 ? undefined : this.#asked[answer.readUInt16BE(0)]
    if (!asked) return
    delete this.#asked[answer.readUInt16BE(0)]
    answer.writeUInt16BE(asked.id, 0)
    this.#front.send(answer, asked.port, asked.address)
  }

  #pipe(client: Socket): void {
    const responder = connect({ host: this.#target.address, port: this.#target.port, allowHalfOpen: true })
    for (const socket of [client, responder]) {
      this.#connections.add(socket)
      socket.once('close', () => this.#connections.delete(socket))
      socket.setTimeout(idleMs, () => socket.destroy())
    }
    pipeline(client, responder, client, () => {})
  }
}
