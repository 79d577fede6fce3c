/** Datagrams to a backend behind a gateway: a CONNECT-UDP (RFC 9298). */
import type { Duplex } from 'node:stream'
import type { DatagramEvents, TunnelDatagrams } from '../../model/tunnel/tunnels.ts'
import { DatagramReader, encodeDatagram } from '../wire/datagrams.ts'

/** Datagrams kept while the way is being opened; what comes beyond that is lost, as UDP may. */
const maxWaiting = 128
/** Bytes that may wait for the tunnel. */
const maxQueued = 256 << 10

export class DatagramStream implements TunnelDatagrams {
  readonly #events: DatagramEvents
  readonly #giveUp: () => void
  #waiting: Uint8Array[] | undefined = []
  #stream: Duplex | undefined
  readonly #reader: DatagramReader
  /** The only datagram sent, until there is an answer: where it is refused, it goes to the next backend. */
  #only: Uint8Array | undefined
  #sent = 0
  #over = false

  /** `ask` sends the request; its answer comes to {@link answered} or {@link failed}. */
  constructor(events: DatagramEvents, ask: (link: DatagramStream) => () => void) {
    this.#events = events
    this.#reader = new DatagramReader(payload => {
      this.#only = undefined
      if (!this.#over) this.#events.replied(payload)
    })
    this.#giveUp = ask(this)
  }

  send(message: Uint8Array): void {
    if (this.#over) return
    if (this.#waiting) {
      // The sender may use its memory again.
      if (this.#waiting.length < maxWaiting) this.#waiting.push(Uint8Array.from(message))
      return
    }
    if (!this.#stream || this.#stream.writableLength > maxQueued) return
    this.#only = this.#sent++ === 0 ? Uint8Array.from(message) : undefined
    this.#stream.write(encodeDatagram(message))
  }

  close(): void {
    if (this.#over) return
    this.#over = true
    this.#giveUp()
    this.#stream?.end()
    this.#stream?.resume()
  }

  answered(stream: Duplex): void {
    this.#stream = stream
    stream.on('data', (chunk: Buffer) => {
      if (!this.#over && !this.#reader.push(chunk)) this.#fail(stream, 'EPROTO', 'the gateway sends no datagrams')
    })
    stream.once('end', () => this.#fail(stream, 'ECONNREFUSED', 'the gateway ended the flow'))
    stream.once('close', () => this.#fail(stream, 'ECONNREFUSED', 'the gateway reset the flow'))
    const waiting = this.#waiting ?? []
    this.#waiting = undefined
    if (!this.#over) this.#events.opened()
    for (const message of waiting) this.send(message)
  }

  failed(error: Error): void {
    if (this.#over) return
    this.#over = true
    this.#events.failed(error, this.#waiting ?? this.#refused())
  }

  /** What has reached no program. */
  #refused(): readonly Uint8Array[] {
    return this.#only && this.#reader.isRefused ? [this.#only] : []
  }

  #fail(stream: Duplex, code: string, message: string): void {
    if (this.#over) return
    stream.destroy()
    this.failed(Object.assign(new Error(message), { code }))
  }
}
