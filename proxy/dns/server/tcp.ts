/**
 * DNS over TCP (RFC 7766): messages with a length prefix, many per connection, answered as they are ready. Bounded are
 * idle time, the time for one message, unanswered questions, and replies that the client does not read.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { type SocketAddress, subscriberNetwork } from '../../model/address.ts'
import type { Client } from '../../model/flow.ts'
import { descriptorOf, type Inherited, type PassedSocket, type PassingCalls } from '../../model/sockets/passing.ts'
import type { Clock } from '../../model/time/clock.ts'
import { headerBytes } from '../message/wire.ts'
import type { IsTrusted, TcpOptions } from '../options.ts'
import type { Respond } from '../transport.ts'
import { clientOf } from './client-address.ts'
import { Turns, type TurnTaker } from './turns.ts'

/** No query is larger: a question and a few options. A longer length prefix means another protocol. */
const maxQueryBytes = 4096
/** Replies that wait for the client to read; two of the largest. */
const maxUnreadBytes = 131_072
const sweepMs = 500
/** The name by which the socket is passed. */
const tcpName = 'dns/TCP'

/** Clients that may wait to be accepted. */
const backlog = 1024

export class TcpListener {
  readonly #server: Server
  readonly #respond: Respond
  readonly #options: TcpOptions
  readonly #clock: Clock
  /** In the order of last use, the longest idle first. */
  readonly #connections = new Set<Connection>()
  /** How many connections each client has. */
  readonly #held = new Map<string, number>()
  readonly #isTrusted: IsTrusted
  readonly #turns = new Turns()
  #stopSweep: (() => void) | undefined
  #refused = 0
  #bound: SocketAddress = { address: '', port: 0 }
  #closed: Promise<void> | undefined

  constructor(respond: Respond, options: TcpOptions, isTrusted: IsTrusted, clock: Clock) {
    this.#respond = respond
    this.#isTrusted = isTrusted
    this.#options = options
    this.#clock = clock
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, socket => this.#accept(socket))
  }

  /** Rejects with the error of the system. `inherited` as for UDP. */
  async bind(local: SocketAddress, inherited: Inherited): Promise<void> {
    this.#bound = local
    const passed = inherited.take(tcpName, local)
    const place = passed ? { fd: passed.descriptor } : { host: local.address, port: local.port }
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      // As an argument of its own: node:net does not take that of a descriptor from the options.
      this.#server.listen({ ...place, exclusive: true }, backlog, () => {
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

  /** A descriptor of its socket, for another process. Connections stay here until they have been idle for long enough. */
  pass(calls: PassingCalls): PassedSocket[] {
    const descriptor = calls.duplicate(descriptorOf(this.#server) ?? -1)
    if (descriptor < 0) return []
    this.#closed = new Promise<void>(resolve => this.#server.close(() => resolve()))
    return [{ name: tcpName, ...this.#bound, descriptor, sessions: [] }]
  }

  /** Accepts no more connections, sends pending replies, then closes. */
  async close(): Promise<void> {
    const closed = this.#closed ?? new Promise<void>(resolve => this.#server.close(() => resolve()))
    for (const connection of this.#connections) connection.finish()
    await closed
    this.#stopSweep?.()
  }

  #accept(socket: Socket): void {
    const client = clientOf(socket.remoteAddress ?? '', socket.remotePort ?? 0)
    const key = clientKeyOf(client)
    if (this.#connections.size >= this.#options.connections && !this.#makeRoom(key, client)) {
      this.#refused++
      socket.destroy()
      return
    }
    this.#held.set(key, (this.#held.get(key) ?? 0) + 1)
    const connection = new Connection(socket, client, this.#respond, this.#options, this.#turns, this.#clock)
    this.#connections.add(connection)
    connection.onUse = () => {
      this.#connections.delete(connection)
      this.#connections.add(connection)
    }
    socket.once('close', () => this.#forget(connection))
  }

  #forget(connection: Connection): void {
    if (!this.#connections.delete(connection)) return
    const left = (this.#held.get(connection.clientKey) ?? 1) - 1
    if (left > 0) this.#held.set(connection.clientKey, left)
    else this.#held.delete(connection.clientKey)
  }

  /**
   * Closes a connection of the client that has the most, idle ones first. A newcomer that has as many itself only replaces an
   * idle one of its own. So one client may use all connections while nobody else wants any.
   */
  #makeRoom(key: string, client: Client): boolean {
    const own = this.#shareOf(key, client)
    let most = 0
    for (const { clientKey, client } of this.#connections) most = Math.max(most, this.#shareOf(clientKey, client))
    const isGreediest = own > 0 && own >= most
    let victim: Connection | undefined
    for (const connection of this.#connections) {
      const isCandidate = isGreediest
        ? connection.clientKey === key
        : this.#shareOf(connection.clientKey, connection.client) === most
      if (!isCandidate) continue
      if (connection.idle) {
        victim = connection
        break
      }
      if (!isGreediest) victim ??= connection
    }
    if (!victim) return false
    victim.destroy()
    this.#forget(victim)
    return true
  }

  /** Trusted clients count as if they had none: others make room for them. */
  #shareOf(key: string, { address }: Client): number {
    return this.#isTrusted(address) ? 0 : (this.#held.get(key) ?? 0)
  }

  #sweep(): void {
    const now = this.#clock.now()
    for (const connection of this.#connections) if (connection.deadline <= now) connection.destroy()
  }
}

/** An IPv4 address, or the network of an IPv6 subscriber. */
function clientKeyOf({ address }: Client): string {
  return subscriberNetwork(address)
}

class Connection implements TurnTaker {
  onUse: () => void = () => {}
  readonly client: Client
  readonly clientKey: string
  readonly #socket: Socket
  readonly #turns: Turns
  readonly #respond: Respond
  readonly #options: TcpOptions
  readonly #clock: Clock
  #pending: Buffer = none
  #inFlight = 0
  #ended = false
  /** When the present state (idle, part of a message received, a reply unread) has lasted too long. */
  #deadline: number

  constructor(socket: Socket, client: Client, respond: Respond, options: TcpOptions, turns: Turns, clock: Clock) {
    this.#socket = socket
    this.client = client
    this.clientKey = clientKeyOf(client)
    this.#turns = turns
    this.#respond = respond
    this.#options = options
    this.#clock = clock
    this.#deadline = clock.now() + options.idleMs
    socket.on('data', bytes => this.#read(bytes))
    socket.on('end', () => this.#end())
    socket.on('drain', () => this.continue())
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
    this.continue()
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
      if (!this.#turns.take(this)) {
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
    const reply = this.#respond(message, this.client, 'tcp')
    if (!(reply instanceof Promise)) return this.#write(reply)
    this.#inFlight++
    void reply.then(bytes => {
      this.#inFlight--
      this.#write(bytes)
      this.continue()
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

  /** After a reply was sent or read, or in its turn: continues with messages that had to wait. */
  continue(): void {
    if (this.#socket.destroyed) return
    this.#takeMessages()
    const isQueued = this.#turns.isQueued(this)
    if (!this.#overloaded && !isQueued && !this.#ended) this.#socket.resume()
    this.#wait()
    if (this.#ended && this.#inFlight === 0 && !this.#overloaded && !isQueued)
      this.#socket.end(() => this.#socket.destroySoon())
  }

  #wait(): void {
    const busy = this.#pending.length > 0 || this.#socket.writableLength > 0
    const waiting = (this.#inFlight > 0 && !busy) || this.#turns.isQueued(this)
    this.#deadline = waiting
      ? Number.POSITIVE_INFINITY
      : this.#clock.now() + (busy ? this.#options.messageMs : this.#options.idleMs)
  }
}

const none = Buffer.alloc(0)
