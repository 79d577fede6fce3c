/**
 * The way of a UDP session's datagrams from the pump to a tunnel: a socket on loopback that the pump links to in the place of the
 * backend's address. Only the pump's own socket is heard, once it has sent.
 */
import type { Socket } from 'node:dgram'
import type { Backend } from '../../model/backend.ts'
import type { Client } from '../../model/flow.ts'
import type { TunnelDatagrams, Tunnels } from '../../model/tunnel/tunnels.ts'
import { openSocket } from './loopback-socket.ts'

export class DatagramBridge {
  readonly #socket: Socket
  readonly #way: TunnelDatagrams
  readonly #failed: (error: Error, isRefused: boolean) => void
  readonly #ready: (address: Uint8Array, port: number) => void
  #peer: number | undefined
  #closed = false

  /**
   * `ready` is told the port to link to, unless the bridge is closed before; `failed` that it is of no more use, and whether the only datagram so
   * far has reached no program.
   */
  constructor(
    tunnels: Tunnels,
    backend: Backend,
    client: Client,
    ready: (address: Uint8Array, port: number) => void,
    failed: (error: Error, isRefused: boolean) => void,
  ) {
    this.#failed = failed
    this.#ready = ready
    this.#way = tunnels.link(backend, client, {
      // The pump keeps what waits until then, for another backend if this one fails.
      opened: () => this.#open(),
      replied: message => this.#replied(message),
      failed: (error, waiting) => this.#fail(error, waiting.length > 0),
    })
    this.#socket = openSocket()
    this.#socket.on('error', error => this.#fail(error))
    this.#socket.on('message', (message, { port }) => {
      this.#peer ??= port
      if (port === this.#peer) this.#way.send(message)
    })
  }

  #open(): void {
    this.#socket.bind({ address: '127.0.0.1', port: 0, exclusive: true }, () => {
      if (!this.#closed) this.#ready(loopback, this.#socket.address().port)
    })
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#way.close()
    this.#socket.close()
  }

  #replied(message: Buffer): void {
    if (!this.#closed && this.#peer !== undefined) this.#socket.send(message, this.#peer, '127.0.0.1')
  }

  #fail(error: Error, isRefused = false): void {
    if (this.#closed) return
    this.close()
    this.#failed(error, isRefused)
  }
}

const loopback = Uint8Array.of(127, 0, 0, 1)
