/**
 * DNS over UDP on the addon's batch socket: up to 64 questions per call, answered in shared memory, and sent when the call
 * returns. A cached answer allocates only the objects that describe the query.
 */
import { getSystemErrorName } from 'node:util'
import type { SocketAddress } from '../../model/address.ts'
import type { Client } from '../../model/flow.ts'
import type { BatchSocket, BatchSocketClass } from '../../model/sockets/batch-socket.ts'
import type { Inherited, PassedSocket, PassingCalls } from '../../model/sockets/passing.ts'
import type { RespondInto } from '../transport.ts'
import { ClientAddresses } from './client-address.ts'
import { type DatagramListener, receiveBytes, udpName } from './udp.ts'

/** The layout of the shared memory in bytes. `native/src/batch/batch.h` is the other side; a test compares the two. */
const batch = 64
const wordBytes = 4
const peerBytes = 48
const question = { bytes: 4096, stride: 4096 + 64 }
const answer = { bytes: 1232, stride: 1232 + 48 }
const at = { asked: 0, answered: 256, peers: 512, questions: 3584, answers: 3584 + batch * question.stride }
/** The layout of a peer in words; the addresses are bytes: the client's, and the one it asked. The scope is that of a link-local address. */
const peer = { family: 0, port: 1, address: 2, local: 6, scope: 10 }
export const layout = { batch, wordBytes, peerBytes, question, answer, at, peer } as const

export class UdpBatchListener implements DatagramListener {
  readonly #socket: BatchSocket
  readonly #respond: RespondInto
  readonly #words: Int32Array
  readonly #questions: readonly Buffer[]
  readonly #answers: readonly Buffer[]
  readonly #addresses: ClientAddresses
  #bound = false
  #address = ''
  #closing: Promise<void> | undefined
  #inFlight = 0
  #drained: (() => void) | undefined

  constructor(BatchSocket: BatchSocketClass, respond: RespondInto) {
    this.#socket = new BatchSocket(count => this.#take(count))
    this.#respond = respond
    const { memory } = this.#socket
    this.#words = new Int32Array(memory, 0, at.questions / wordBytes)
    this.#addresses = new ClientAddresses(this.#words)
    const rooms = (start: number, { bytes, stride }: { bytes: number; stride: number }) =>
      Array.from({ length: batch }, (_, i) => Buffer.from(memory, start + i * stride, bytes))
    this.#questions = rooms(at.questions, question)
    this.#answers = rooms(at.answers, answer)
  }

  async bind({ address, port }: SocketAddress, inherited: Inherited): Promise<SocketAddress> {
    const passed = inherited.take(udpName, { address, port })
    const error = passed ? this.#socket.adopt(passed.descriptor) : this.#socket.bind(address, port, receiveBytes)
    this.#address = address
    if (error !== 0) {
      const code = getSystemErrorName(-error)
      throw Object.assign(new Error(`bind ${code} ${address}:${port}`), { code })
    }
    this.#bound = true
    return { address, port: this.#socket.port() }
  }

  get sendErrors(): number {
    return this.#socket.lost()
  }

  pass(calls: PassingCalls): PassedSocket[] {
    const descriptor = calls.duplicate(this.#socket.descriptor())
    if (descriptor < 0) return []
    const port = this.#socket.port()
    this.#closing = this.close()
    return [{ name: udpName, address: this.#address, port, descriptor, sessions: [] }]
  }

  async close(): Promise<void> {
    if (this.#closing) return this.#closing
    if (!this.#bound) return
    this.#bound = false
    this.#socket.stopReceiving()
    if (this.#inFlight > 0) await new Promise<void>(resolve => (this.#drained = resolve))
    await new Promise<void>(resolve => this.#socket.close(resolve))
  }

  #take(count: number): void {
    const words = this.#words
    for (let i = 0; i < count; i++) {
      const length = words[at.asked / wordBytes + i] as number
      // Below 0: the peer's port or address cannot be answered.
      if (length < 0) continue
      const room = this.#answers[i] as Buffer
      const message = this.#questions[i] as Buffer
      const reply = this.#respond(room, message, length, this.#clientAt((at.peers + i * peerBytes) / wordBytes))
      if (typeof reply === 'number') words[at.answered / wordBytes + i] = reply
      else void this.#later(reply, Buffer.from(new Uint8Array(words.buffer, at.peers + i * peerBytes, peerBytes)))
    }
  }

  #clientAt(word: number): Client {
    const words = this.#words
    const address = this.#addresses.textAt(word + peer.address, words[word + peer.family] === 6)
    return { address, port: words[word + peer.port] as number }
  }

  async #later(reply: Promise<Buffer | undefined>, to: Buffer): Promise<void> {
    this.#inFlight++
    const bytes = await reply
    if (bytes) this.#socket.send(bytes, to)
    if (--this.#inFlight === 0) this.#drained?.()
  }
}
