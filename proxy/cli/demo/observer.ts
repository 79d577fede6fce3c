/** Whoever sits between the two clusters of the demo: passes on what goes to the gateway, and keeps what can be read of it. */
import { connect, createServer, type Server, type Socket } from 'node:net'

/** Bytes that are looked at, of each connection and direction; what follows looks the same. */
const lookedAt = 4 << 20
/** What would give away who talks to whom about what. */
const words = ['rebel-base', 'Cluster-2', 'default', 'GET /', 'HTTP/1.1', '127.2.', 'spiffe']

export class Observer {
  readonly #server: Server
  readonly #gateway: string
  readonly #sockets = new Set<Socket>()
  #connections = 0
  #bytes = 0
  #records = 0
  readonly #read = new Set<string>()

  private constructor(server: Server, gateway: string) {
    this.#server = server
    this.#gateway = gateway
    server.on('connection', socket => this.#pass(socket))
  }

  /** `gateway`: `127.0.0.1:15008`. */
  static async open(gateway: string): Promise<Observer> {
    const server = createServer()
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', resolve)
    })
    return new Observer(server, gateway)
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as { port: number }).port}`
  }

  report(): string {
    const found = [...this.#read]
    const said =
      found.length === 0 ? 'no address of a pod, no name of a service, no request' : `readable: ${found.join(', ')}`
    return `
What an observer between the clusters has seen:
  connections    ${this.#connections}, all to the gateway ${this.#gateway}
  bytes          ${this.#bytes}, in ${this.#records} records of TLS 1.3
  could read     ${said}
`
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #pass(near: Socket): void {
    this.#connections++
    const [host = '', port] = this.#gateway.split(':')
    const far = connect({ host, port: Number(port), noDelay: true })
    near.setNoDelay(true)
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from)
      let left = lookedAt
      from.on('data', chunk => {
        this.#bytes += chunk.length
        if (left > 0) this.#look(chunk)
        left -= chunk.length
        if (!to.write(chunk)) from.pause()
      })
      to.on('drain', () => from.resume())
      from.on('end', () => to.end())
      from.on('error', () => to.destroy())
      from.on('close', () => this.#sockets.delete(from))
    }
  }

  #look(chunk: Buffer): void {
    const text = chunk.toString('latin1')
    // Application data: type 23, and the version that TLS 1.3 writes for the sake of old middleboxes.
    this.#records += text.split('\x17\x03\x03').length - 1
    for (const word of words) if (text.includes(word)) this.#read.add(word)
  }
}
