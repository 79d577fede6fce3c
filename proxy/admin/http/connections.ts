/** The open connections of the admin server, and which of them is closed when there are too many. */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

export interface ConnectionLimits {
  readonly connections: number
  /** Beyond `connections`: for requests that come while so many are in progress. */
  readonly reserved: number
}

/**
 * Anybody who reaches the server can open connections and send nothing, and a probe must get through. So the connection that has
 * been without a request for the longest is closed for a new one, but the newest `reserved` never: their requests may be on the way.
 */
export class Connections {
  readonly #limits: ConnectionLimits
  /** Without a request, the longest first. */
  readonly #idle = new Set<Socket>()
  /** With a request in progress, the longest first. */
  readonly #busy = new Set<Socket>()

  constructor(limits: ConnectionLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#idle.size + this.#busy.size
  }

  opened(socket: Socket): void {
    socket.once('close', () => {
      this.#idle.delete(socket)
      this.#busy.delete(socket)
    })
    this.#idle.add(socket)
    const over = this.size - this.#limits.connections
    if (over <= 0) return
    const { reserved } = this.#limits
    if (this.#idle.size > reserved) closeFirst(this.#idle)
    else if (over > reserved) closeFirst(this.#busy)
  }

  /** A request has come. False when so many are in progress that only probes should be answered. */
  asked(socket: Socket, response: ServerResponse): boolean {
    this.#idle.delete(socket)
    this.#busy.add(socket)
    response.once('close', () => {
      if (this.#busy.delete(socket) && !socket.destroyed) this.#idle.add(socket)
    })
    return this.#busy.size <= this.#limits.connections
  }
}

/** Its own `close` event comes later: it is out of the set at once. */
function closeFirst(sockets: Set<Socket>): void {
  const [first] = sockets
  if (!first) return
  sockets.delete(first)
  first.destroy()
}
