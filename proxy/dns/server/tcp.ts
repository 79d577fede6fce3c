/**
 * The TCP side (RFC 7766): messages behind two bytes of length, many on one connection, answered as they are ready.
 * Every way a client can waste a connection has a bound: silence, a drip of bytes, questions without end, not reading.
 */
import { createServer, type Server, type Socket } from 'node:net'
import type { Client } from '../../model/flow.ts'
import type { Clock } from '../../model/time/clock.ts'
import { headerBytes } from '../message/wire.ts'
import type { TcpOptions } from '../options.ts'
import { clientOf, type Endpoint, type Respond } from './udp.ts'

/** No query is larger: a name, a question and a few options. Whoever announces more speaks something else. */
const mostQueryBytes = 4096
/** Replies that wait for the client to read; two of the largest. */
const mostUnreadBytes = 131_072
const sweepMs = 500

export class TcpListener {
  readonly #server: Server
  readonly #respond: Respond
  readonly #options: TcpOptions
  readonly #clock: Clock
  /** In the order of their last use, the longest idle first. */
  readonly #connections = new Set<Connection>()
  readonly #perClient = new Map<string, number>()
  #stopSweep: (() => void) | undefined
  #refused = 0

  constructor(respond: Respond, options: TcpOptions, clock: Clock) {
    this.#respond = respond
    this.#options = options
    this.#clock = clock
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, socket => this.#accept(socket))
  }

  /** Rejects with the error of the system. */
  async bind(endpoint: Endpoint): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host: endpoint.address, port: endpoint.port, backlog: 1024, exclusive: true }, () => {
        this.#server.off('error', reject)
        resolve()
      })
    })
    // Running out of descriptors must not end the process; accepting goes on when some are free.
    this.#server.on('error', () => this.#refused++)
    this.#stopSweep = this.#clock.every(sweepMs, () => this.#sweep())
  }

  get connections(): number {
    return this.#connections.size
  }

  get refused(): number {
    return this.#refused
  }

  /** Takes no more, answers what was asked, then closes. */
  async close(): Promise<void> {
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()))
    for (const connection of this.#connections) connection.finish()
    await closed
    this.#stopSweep?.()
  }

  #accept(socket: Socket): void {
    const client = clientOf(socket.remoteAddress ?? '', socket.remotePort ?? 0)
    const held = this.#perClient.get(client.address) ?? 0
    if (held >= this.#options.perClient || !this.#makeRoom()) {
      this.#refused++
      socket.destroy()
      return
    }
    this.#perClient.set(client.address, held + 1)
    const connection = new Connection(socket, client, this.#respond, this.#options, this.#clock)
    this.#connections.add(connection)
    connection.onUse = () => {
      this.#connections.delete(connection)
      this.#connections.add(connection)
    }
    socket.once('close', () => {
      this.#connections.delete(connection)
      const left = (this.#perClient.get(client.address) ?? 1) - 1
      if (left > 0) this.#perClient.set(client.address, left)
      else this.#perClient.delete(client.address)
    })
  }

  #makeRoom(): boolean {
    if (this.#connections.size < this.#options.connections) return true
    for (const connection of this.#connections) {
      if (!connection.idle) continue
      connection.destroy()
      this.#connections.delete(connection)
      return true
    }
    return false
  }

  #sweep(): void {
    const now = this.#clock.now()
    for (const connection of this.#connections) if (connection.deadline <= now) connection.destroy()
  }
}

class Connection {
  onUse: () => void = () => {}
  readonly #socket: Socket
  readonly #client: Client
  readonly #respond: Respond
  readonly #options: TcpOptions
  readonly #clock: Clock
  #pending: Buffer = none
  #inFlight = 0
  #ended = false
  /** When the present state has lasted too long: an idle wait, half a message, an unread reply. */
  #deadline: number

  constructor(socket: Socket, client: Client, respond: Respond, options: TcpOptions, clock: Clock) {
    this.#socket = socket
    this.#client = client
    this.#respond = respond
    this.#options = options
    this.#clock = clock
    this.#deadline = clock.now() + options.idleMs
    socket.on('data', bytes => this.#read(bytes))
    socket.on('end', () => this.#end())
    socket.on('drain', () => this.#continue())
    socket.on('error', () => socket.destroy())
  }

  /** Nothing is being asked or answered. */
  get idle(): boolean {
    return this.#inFlight === 0 && this.#pending.length === 0
  }

  get deadline(): number {
    return this.#deadline
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** No more is read: what is being answered is, then the connection ends. */
  finish(): void {
    this.#pending = none
    this.#socket.pause()
    this.#end()
  }

  /** No more bytes come; whole messages that wait for their turn are still answered. */
  #end(): void {
    this.#ended = true
    this.#continue()
  }

  #read(bytes: Buffer): void {
    const begun = this.#pending.length > 0
    this.#pending = begun ? Buffer.concat([this.#pending, bytes]) : bytes
    const answered = this.#takeMessages()
    // A drip of bytes does not move the deadline of a message once begun.
    if (answered || !begun) this.#wait()
  }

  /** Answers every whole message at hand, as far as the bounds let; whether there was one. */
  #takeMessages(): boolean {
    let taken = false
    while (this.#pending.length >= 2 && !this.#socket.destroyed) {
      const length = this.#pending.readUInt16BE(0)
      if (length < headerBytes || length > mostQueryBytes) {
        this.destroy()
        return taken
      }
      if (this.#pending.length < 2 + length) break
      if (this.#overloaded) {
        this.#socket.pause()
        break
      }
      const message = this.#pending.subarray(2, 2 + length)
      this.#pending = this.#pending.subarray(2 + length)
      taken = true
      this.#answer(message)
    }
    return taken
  }

  get #overloaded(): boolean {
    return this.#inFlight >= this.#options.inFlight || this.#socket.writableLength > mostUnreadBytes
  }

  #answer(message: Buffer): void {
    const reply = this.#respond(message, this.#client, 'tcp')
    if (!(reply instanceof Promise)) return this.#write(reply)
    this.#inFlight++
    void reply.then(bytes => {
      this.#inFlight--
      this.#write(bytes)
      this.#continue()
    })
  }

  #write(reply: Buffer | undefined): void {
    if (!reply || this.#socket.destroyed) return
    // One write per message, length and all (RFC 7766 8).
    const framed = Buffer.allocUnsafe(2 + reply.length)
    framed.writeUInt16BE(reply.length, 0)
    reply.copy(framed, 2)
    this.#socket.write(framed)
    this.onUse()
  }

  /** After an answer or when the client has read: takes up what had to wait. */
  #continue(): void {
    if (this.#socket.destroyed) return
    this.#takeMessages()
    if (!this.#overloaded && !this.#ended) this.#socket.resume()
    this.#wait()
    if (this.#ended && this.#inFlight === 0 && !this.#overloaded) this.#socket.end(() => this.#socket.destroySoon())
  }

  #wait(): void {
    const busy = this.#pending.length > 0 || this.#socket.writableLength > 0
    const waiting = this.#inFlight > 0 && !busy
    this.#deadline = waiting
      ? Number.POSITIVE_INFINITY
      : this.#clock.now() + (busy ? this.#options.messageMs : this.#options.idleMs)
  }
}

const none = Buffer.alloc(0)
