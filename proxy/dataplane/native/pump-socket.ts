/** A listening TCP socket or a bound UDP socket that the pump has; both kinds close and are passed on alike. */
import { MeshError } from '../../model/error.ts'

export class PumpSocket {
  readonly #tellClose: () => void
  readonly #tellPass: () => void
  /** Resolves with the descriptor of a socket that was passed; below 0 when it was closed. */
  readonly #gone = Promise.withResolvers<number>()

  /** `tellClose` and `tellPass` tell the pump to close it or to give it back; {@link closed} is its answer. */
  constructor(tellClose: () => void, tellPass: () => void) {
    this.#tellClose = tellClose
    this.#tellPass = tellPass
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

  /** The pump has closed it, or given it back. */
  closed(descriptor = -1): void {
    this.#gone.resolve(descriptor)
  }
}
