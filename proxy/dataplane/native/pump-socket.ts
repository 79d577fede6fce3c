/** A listening TCP socket or a bound UDP socket that the pump has; both kinds close and are passed on alike. */
import { MeshError } from '../../model/error.ts'

export class PumpSocket {
  readonly #tellClose: () => void
  readonly #tellPass: () => void
  /** Resolves with the descriptor of a socket that was passed; below 0 when it was closed. */
  readonly #gone = Promise.withResolvers<number>()
  #left: number
  #descriptor = -1

  /**
   * `tellClose` and `tellPass` tell the pump to close it or to give it back; {@link closed} is its answer, once from each of the
   * `pumps` that get its clients.
   */
  constructor(tellClose: () => void, tellPass: () => void, pumps: number) {
    this.#tellClose = tellClose
    this.#tellPass = tellPass
    this.#left = pumps
  }

  /** Resolves when the address is free. */
  async close(): Promise<void> {
    this.#tellClose()
    await this.#gone.promise
  }

  /** Resolves with the descriptor of the open socket, which is ours from then on. */
  async pass(): Promise<number> {
    this.#tellPass()
    const descriptor = await this.#gone.promise
    if (descriptor < 0) throw new MeshError('STATE', 'the socket was closed before it could be passed on')
    return descriptor
  }

  /** A pump has closed it, given it back, or got its last client. True when it was the last pump. */
  closed(descriptor: number): boolean {
    if (descriptor >= 0) this.#descriptor = descriptor
    if (--this.#left > 0) return false
    this.abandoned()
    return true
  }

  /** The pumps have ended. */
  abandoned(): void {
    this.#gone.resolve(this.#descriptor)
  }
}
