/** TCP connections for health checks: each serves one check and lives no longer than the timeout. */
import { connect, type Socket } from 'node:net'
import type { Clock } from '../model/time/clock.ts'
import { type CheckedEndpoint, Unanswered } from './probe.ts'

export class Connections {
  readonly #timeoutMs: number
  readonly #clock: Clock
  readonly #open = new Set<Socket>()

  constructor(timeoutMs: number, clock: Clock) {
    this.#timeoutMs = timeoutMs
    this.#clock = clock
  }

  /** Resolves when connected. The timeout covers the whole check: when it expires, the socket is destroyed with an error. */
  open({ address, port }: CheckedEndpoint): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: address, port })
      this.#open.add(socket)
      const tooLate = () => {
        const why = `no answer within ${this.#timeoutMs} ms`
        socket.destroy(socket.connecting ? new Unanswered(why) : new Error(why))
      }
      const cancel = this.#clock.after(this.#timeoutMs, tooLate)
      socket.on('error', reject)
      socket.once('connect', () => {
        if (isSelfConnect(socket)) socket.destroy(new Error('nothing listens there: the socket connected to itself'))
        else resolve(socket)
      })
      socket.once('close', () => {
        cancel()
        this.#open.delete(socket)
        reject(new Error('the check was cancelled'))
      })
    })
  }

  destroy(): void {
    for (const socket of this.#open) socket.destroy()
  }
}

/** On loopback the kernel may pick the dialled port as the source port; TCP then connects the socket to itself. */
function isSelfConnect(socket: Socket): boolean {
  return socket.localPort === socket.remotePort && socket.localAddress === socket.remoteAddress
}
