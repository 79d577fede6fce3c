/** The connections of checks: each lives for one check and never longer than its timeout. */
import { connect, type Socket } from 'node:net'
import type { Clock } from '../model/time/clock.ts'
import type { CheckedEndpoint } from './probe.ts'

export class Connections {
  readonly #timeoutMs: number
  readonly #clock: Clock
  readonly #open = new Set<Socket>()

  constructor(timeoutMs: number, clock: Clock) {
    this.#timeoutMs = timeoutMs
    this.#clock = clock
  }

  /** Resolves when connected. The socket is destroyed with an error when the timeout is over, whatever it does then. */
  open({ address, port }: CheckedEndpoint): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: address, port })
      this.#open.add(socket)
      const tooLate = () => socket.destroy(new Error(`no answer within ${this.#timeoutMs} ms`))
      const callOff = this.#clock.after(this.#timeoutMs, tooLate)
      socket.on('error', reject)
      socket.once('connect', () => {
        if (isOwnEnd(socket)) socket.destroy(new Error('nobody listens: the connection met its own end'))
        else resolve(socket)
      })
      socket.once('close', () => {
        callOff()
        this.#open.delete(socket)
        reject(new Error('the check was cut off'))
      })
    })
  }

  destroy(): void {
    for (const socket of this.#open) socket.destroy()
  }
}

/** On loopback the kernel may choose the dialled port as the source port too, and TCP then connects to itself. */
function isOwnEnd(socket: Socket): boolean {
  return socket.localPort === socket.remotePort && socket.localAddress === socket.remoteAddress
}
