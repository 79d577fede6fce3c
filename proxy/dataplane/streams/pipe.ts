/**
 * Moves bytes between two connected sockets. A FIN of one side is passed on once what came before it is written; a reset of
 * one side becomes a reset of the other, so that no peer takes a broken stream for a complete one.
 *
 * Plain handlers, since they cost less than `pipe()`. Memory is bounded by the streams' high-water marks, 64 KiB and a read per direction.
 */
import type { Socket } from 'node:net'
import type { CloseReason } from '../../model/flow.ts'
import { free } from '../../model/sockets/chunks.ts'
import { resetSocket } from '../../model/sockets/reset.ts'
import { codeOf } from '../flow/outcome.ts'
import type { Inlet } from './buffers.ts'
import { Share, type Turns } from './turns.ts'

export class Pipe {
  /** Bytes from the client. */
  sent = 0
  /** Bytes from the backend. */
  received = 0
  /** Grows whenever anything moves; equal to an older value when nothing has. */
  progress = 0
  readonly #client: Socket
  readonly #backend: Socket
  readonly #inlet: Inlet
  readonly #upload: Share
  readonly #download: Share
  readonly #done: (reason: CloseReason) => void
  #clientEnded = false
  #backendEnded = false
  #closed = false
  /** The client's last chunk, while the kernel has not taken all of it. */
  #writing: Buffer | undefined

  /** `done` is called exactly once, when both sockets are destroyed; never before the constructor returns. */
  constructor(client: Socket, backend: Socket, inlet: Inlet, turns: Turns, done: (reason: CloseReason) => void) {
    this.#client = client
    this.#backend = backend
    this.#inlet = inlet
    this.#upload = new Share(turns, () => this.#resume(client))
    this.#download = new Share(turns, () => this.#resume(backend))
    this.#done = done
    this.#toBackend()
    this.#toClient()
  }

  /** One side has ended and all its bytes are passed on: only the other can still send. */
  get halfClosed(): boolean {
    return (this.#clientEnded || this.#backendEnded) && !this.#queued
  }

  /** Has the kernel probe a silent peer after these times. */
  keepAlive(clientMs: number, backendMs: number): void {
    this.#client.setKeepAlive(true, clientMs)
    this.#backend.setKeepAlive(true, backendMs)
  }

  /** The client's socket has failed. */
  clientFailed(): void {
    resetSocket(this.#backend)
    this.#close('client-reset')
  }

  /** Ends both sides now, with a reset: each would take a FIN for the other's. */
  cut(reason: CloseReason): void {
    if (this.#closed) return
    resetSocket(this.#client)
    resetSocket(this.#backend)
    this.#close(reason)
  }

  #toBackend(): void {
    const client = this.#client
    const backend = this.#backend
    client.on('data', (chunk: Buffer) => {
      this.sent += chunk.length
      this.progress++
      if (!this.#upload.moved(chunk.length, backend.write(chunk))) client.pause()
      if (backend.writableLength === 0) free(chunk)
      else this.#writing = chunk
    })
    backend.on('drain', () => {
      this.progress++
      if (this.#writing) free(this.#writing)
      this.#writing = undefined
      this.#upload.drained()
    })
    client.on('end', () => this.#onClientEnd())
    if (client.readableEnded) this.#onClientEnd()
  }

  #toClient(): void {
    const client = this.#client
    const backend = this.#backend
    this.#inlet.deliver = chunk => {
      this.received += chunk.length
      this.progress++
      const more = client.write(chunk)
      if (client.writableLength > 0) this.#inlet.lend()
      return this.#download.moved(chunk.length, more)
    }
    client.on('drain', () => {
      this.progress++
      this.#download.drained()
    })
    backend.on('end', () => this.#onBackendEnd())
    backend.on('error', error => {
      resetSocket(client)
      this.#close(codeOf(error) === 'ETIMEDOUT' ? 'backend-lost' : 'backend-reset')
    })
  }

  #onClientEnd(): void {
    this.#clientEnded = true
    if (this.#backendEnded) this.#finish()
    else this.#backend.end()
  }

  #onBackendEnd(): void {
    this.#backendEnded = true
    if (this.#clientEnded) this.#finish()
    else this.#client.end()
  }

  /** Both have ended. The kernel delivers what is written; what still waits here is written first. */
  #finish(): void {
    if (!this.#queued) return this.#close('done')
    for (const socket of [this.#client, this.#backend]) {
      socket.end()
      // Node destroys a socket by itself once both its sides have ended.
      socket.once('close', () => {
        if (this.#client.destroyed && this.#backend.destroyed) this.#close('done')
      })
    }
  }

  #resume(socket: Socket): void {
    if (!this.#closed) socket.resume()
  }

  get #queued(): boolean {
    return this.#client.writableLength > 0 || this.#backend.writableLength > 0
  }

  #close(reason: CloseReason): void {
    if (this.#closed) return
    this.#closed = true
    this.#client.destroy()
    this.#backend.destroy()
    this.#inlet.release()
    this.#done(reason)
  }
}
