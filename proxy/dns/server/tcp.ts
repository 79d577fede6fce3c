/**
 * DNS over TCP (RFC 7766): messages with a length prefix, many per connection, answered as they are ready. Bounded are
 * idle time, the time for one message, unanswered questions, and replies that the client does not read.
 */
import { createServer, type Server, type Socket } from 'node:net'
import type { SocketAddress } from '../../model/address.ts'
import type { Client } from '../../model/flow.ts'
import type { Clock } from '../../model/time/clock.ts'
import { headerBytes } from '../message/wire.ts'
import type { TcpOptions } from '../options.ts'
import type { Respond } from '../transport.ts'
import { clientOf } from './client-address.ts'

/** No query is larger: a question and a few options. A longer length prefix means another protocol. */
const maxQueryBytes = 4096
/** AnswerCache that wait for the client to read; two of the largest. */
const maxUnreadBytes = 131_072
const sweepMs = 500

export class TcpListener {
  readonly #server: Server
  readonly #respond: Respond
  readonly #options: TcpOptions
  readonly #clock: Clock
  /** In the order of last use, the longest idle first. */
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
  async bind(local: SocketAddress): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host: local.address, port: local.port, backlog: 1024, exclusive: true }, () => {
        this.#server.off('error', reject)
        resolve()
      })
    })
    // Out of descriptors: must not end the process; accepting resumes when some are free.
    this.#server.on('error', () => this.#refused++)
    this.#stopSweep = this.#clock.every(sweepMs, () => this.#sweep())
  }

  get connections(): number {
    return this.#connections.size
  }

  get refused(): number {
    return this.#refused
  }

  /** Accepts no more connections, sends pending replies, then closes. */
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
  /** When the present state (idle, part of a message received, a reply unread) has lasted too long. */
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

  /** No question is partly received or unanswered. */
  get idle(): boolean {
    return this.#inFlight === 0 && this.#pending.length === 0
  }

  get deadline(): number {
    return this.#deadline
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** Reads no more, sends pending replies, then ends the connection. */
  finish(): void {
    this.#pending = none
    this.#socket.pause()
    this.#end()
  }

  /** The client has sent FIN; whole messages received before it are still answered. */
  #end(): void {
    this.#ended = true
    this.#continue()
  }

  #read(bytes: Buffer): void {
    const begun = this.#pending.length > 0
    this.#pending = begun ? Buffer.concat([this.#pending, bytes]) : bytes
    const answered = this.#takeMessages()
    // More bytes of an incomplete message do not extend its deadline.
    if (answered || !begun) this.#wait()
  }

  /** Answers all whole messages received, within the bounds. Returns whether there was one. */
  #takeMessages(): boolean {
    let taken = false
    while (this.#pending.length >= 2 && !this.#socket.destroyed) {
      const length = this.#pending.readUInt16BE(0)
      if (length < headerBytes || length > maxQueryBytes) {
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
    return this.#inFlight >= this.#options.inFlight || this.#socket.writableLength > maxUnreadBytes
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
    // Length and message in one write (RFC 7766 8).
    const framed = Buffer.allocUnsafe(2 + reply.length)
    framed.writeUInt16BE(reply.length, 0)
    reply.copy(framed, 2)
    this.#socket.write(framed)
    this.onUse()
  }

  /** After a reply was sent or read: continues with messages that had to wait. */
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
