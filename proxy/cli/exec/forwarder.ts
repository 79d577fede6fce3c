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
const tries = 5
const idleMs = 30_000
const mostConnections = 100

/**
 * Carries DNS from an address at port 53 to a responder at any port, since resolv.conf can name no port. It listens on
 * some address of 127.53.0.0/16, so that it is in nobody's way and several can run side by side.
 */
export class Forwarder {
  readonly address: string
  readonly #target: Endpoint
  readonly #front: UdpSocket
  readonly #back: UdpSocket
  readonly #tcp: Server
  readonly #connections = new Set<Socket>()
  /** Who asked, by the id that the question carries to the responder: a ring, in which old questions are overwritten. */
  readonly #asked: { id: number; port: number; address: string }[] = []
  #next = 0

  private constructor(address: string, target: Endpoint) {
    this.address = address
    this.#target = target
    this.#front = createSocket('udp4').on('error', () => {})
    // The responder may be away for a moment; the client asks again.
    this.#back = createSocket(familyOf(target.address) === 6 ? 'udp6' : 'udp4').on('error', () => {})
    this.#tcp = createServer({ allowHalfOpen: true }, client => this.#carry(client))
    this.#tcp.maxConnections = mostConnections
    this.#front.on('message', (question, { address, port }) => this.#ask(question, address, port))
    this.#back.on('message', answer => this.#answer(answer))
  }

  /** Undefined when port 53 may not be bound by this user, or is taken on every address. */
  static async open(target: Endpoint, random = Math.random): Promise<Forwarder | undefined> {
    for (let i = 0; i < tries; i++) {
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
    const ticket = this.#next
    this.#next = (ticket + 1) & 0xffff
    this.#asked[ticket] = { id: question.readUInt16BE(0), address, port }
    question.writeUInt16BE(ticket, 0)
    this.#back.send(question)
  }

  #answer(answer: Buffer): void {
    const asked = answer.length < 12 ? undefined : this.#asked[answer.readUInt16BE(0)]
    if (!asked) return
    delete this.#asked[answer.readUInt16BE(0)]
    answer.writeUInt16BE(asked.id, 0)
    this.#front.send(answer, asked.port, asked.address)
  }

  #carry(client: Socket): void {
    const responder = connect({ host: this.#target.address, port: this.#target.port, allowHalfOpen: true })
    for (const socket of [client, responder]) {
      this.#connections.add(socket)
      socket.once('close', () => this.#connections.delete(socket))
      socket.setTimeout(idleMs, () => socket.destroy())
    }
    pipeline(client, responder, client, () => {})
  }
}
