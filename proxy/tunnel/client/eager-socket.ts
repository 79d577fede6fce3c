/**
 * A connection that takes what comes though nobody reads it yet.
 *
 * A session of node:http2 reads nothing while a write of its own waits for the socket. With such a session at each end, large transfers
 * both ways stop for ever: each end has more to write than the buffers of the kernel hold, and reads only once that is written. One
 * end that always takes what comes lets the other finish its write, and so read.
 */
import { connect, Socket, type TcpNetConnectOpts } from 'node:net'
import { Duplex } from 'node:stream'
import { free } from '../../model/sockets/chunks.ts'

type Done = (error?: Error | null) => void

/** Bytes of one read. */
const atOnce = 256 << 10

/** Ends and fails with its socket. What is written to it is its own from then on. */
export class EagerSocket extends Duplex {
  readonly socket: Socket

  /** `most`: so many bytes wait here, about; more stay in the kernel. */
  constructor(to: TcpNetConnectOpts | Socket, most: number) {
    super({ readableHighWaterMark: most, allowHalfOpen: false })
    this.socket = to instanceof Socket ? to.on('data', bytes => this.#came(bytes)) : this.#connect(to)
    this.socket.on('end', () => this.push(null))
    this.socket.on('error', error => this.destroy(error))
    this.socket.on('close', () => {
      // After an end it lives until that was read.
      if (!this.socket.readableEnded) this.destroy()
    })
  }

  /** What is read at once is passed on in the memory that the next read fills. */
  #connect(to: TcpNetConnectOpts): Socket {
    const buffer = Buffer.allocUnsafeSlow(atOnce)
    const callback = (count: number) => {
      const isReadAtOnce = this.readableFlowing === true && this.readableLength === 0
      const bytes = buffer.subarray(0, count)
      this.#came(isReadAtOnce ? bytes : Buffer.from(bytes))
      return true
    }
    return connect({ ...to, onread: { buffer, callback } })
  }

  #came(bytes: Buffer): void {
    if (!this.push(bytes)) this.socket.pause()
  }

  override _read(): void {
    if (this.socket.isPaused()) this.socket.resume()
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.socket.write(bytes, error => {
      if (!error) free(bytes)
      done(error)
    })
  }

  override _writev(pieces: { chunk: Buffer }[], done: Done): void {
    this.socket.cork()
    const last = pieces.length - 1
    for (const [at, { chunk }] of pieces.entries()) this.socket.write(chunk, at === last ? done : undefined)
    this.socket.uncork()
  }

  override _final(done: Done): void {
    this.socket.end(() => done())
  }

  override _destroy(error: Error | null, done: Done): void {
    this.socket.destroy()
    done(error)
  }
}
