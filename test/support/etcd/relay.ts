import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Test } from 'tap'

/** A way to a server that can be cut while the server goes on: on loopback, at a port of its own. */
export class Relay {
  readonly port: number
  #server: Server
  #sockets = new Set<Socket>()

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
      const onward = connect(target, '127.0.0.1')
      socket.pipe(onward).pipe(socket)
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

  /** Refuses, and resets what is there. */
  async cut(): Promise<void> {
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()))
    for (const socket of this.#sockets) socket.resetAndDestroy()
    await closed
  }

  async mend(): Promise<void> {
    await new Promise<void>(resolve => this.#server.listen(this.port, '127.0.0.1', resolve))
  }
}
