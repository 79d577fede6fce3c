/** A TCP relay on loopback, so that the connection to a server can be cut or stalled while the server runs. */
import { connect, createServer, type Server, type Socket } from 'node:net'
import { Transform } from 'node:stream'
import type { Test } from 'tap'
import { resetSocket } from '../../../proxy/model/sockets/reset.ts'

export class Relay {
  readonly port: number
  /** The delay of each chunk. */
  delayMs = 0
  /** Connections of clients: how many were accepted, and how many are open. */
  accepted = 0
  open = 0
  #server: Server
  #sockets = new Set<Socket>()
  #isStalled = false
  #held: (() => void)[] = []

  static async open(t: Test, url: string): Promise<Relay> {
    const server = createServer()
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const relay = new Relay(server, Number(new URL(url).port))
    t.teardown(() => relay.cut())
    return relay
  }

  private constructor(server: Server, target: number) {
    this.#server = server
    this.port = (server.address() as { port: number }).port
    server.on('connection', socket => {
      this.accepted++
      this.open++
      socket.once('close', () => this.open--)
      const onward = connect(target, '127.0.0.1')
      socket.pipe(this.#slowly()).pipe(onward).pipe(this.#slowly()).pipe(socket)
      for (const each of [socket, onward]) {
        this.#sockets.add(each)
        each
          .on('error', () => {})
          .on('close', () => {
            this.#sockets.delete(each)
            socket.destroy()
            onward.destroy()
          })
      }
    })
  }

  /** Refuses new connections and resets open ones. */
  async cut(): Promise<void> {
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()))
    for (const socket of this.#sockets) resetSocket(socket)
    await closed
  }

  /** Forwards nothing, but keeps the connections open, as when a cable is unplugged. */
  stall(): void {
    this.#isStalled = true
  }

  resume(): void {
    this.#isStalled = false
    for (const resume of this.#held.splice(0)) resume()
  }

  #slowly(): Transform {
    return new Transform({
      transform: (chunk, _encoding, done) => {
        const pass = (): void => done(null, chunk)
        if (this.#isStalled) this.#held.push(pass)
        else if (this.delayMs > 0) setTimeout(pass, this.delayMs)
        else pass()
      },
    })
  }

  async mend(): Promise<void> {
    await new Promise<void>(resolve => this.#server.listen(this.port, '127.0.0.1', resolve))
  }
}
