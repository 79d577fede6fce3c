/** A listening TCP socket or a bound UDP socket that the pump has; both kinds close and are passed on alike. */
import { MeshError } from '../../model/error.ts'

export class PumpSocket {
  readonly #tellClose: () => void
  readonly #tellPass: () => void
  readonly #tellPause: (() => void) | undefined
  /** Resolves with the descriptor of a socket that was passed; below 0 when it was closed. */
  readonly #gone = Promise.withResolvers<number>()
  readonly #paused = Promise.withResolvers<void>()
  #left: number
  #descriptor = -1

  /**
   * `tellClose` and `tellPass` tell the pump to close it or to give it back; {@link closed} is its answer, once from each of the
   * `pumps` that get its clients. `tellPause`, of a UDP socket: to read no more from it, which is answered by {@link paused}.
   */
  constructor(tellClose: () => void, tellPass: () => void, pumps: number, tellPause?: () => void) {
    this.#tellClose = tellClose
    this.#tellPass = tellPass
    this.#left = pumps
    this.#tellPause = tellPause
  }

  /** Resolves when the address is free. */
  async close(): Promise<void> {
    this.#tellClose()
    await this.#gone.promise
  }

  /** Resolves with the descriptor of the open socket, which is ours from then on. */
  async pass(): Promise<number> {
    await this.hold()
    this.#tellPass()
    const descriptor = await this.#gone.promise
    if (descriptor < 0) throw new MeshError('STATE', 'the socket was closed before it could be passed on')
    return descriptor
  }

  /** Resolves when nothing is read from it any more, and all that was read has been told. */
  async hold(): Promise<void> {
    if (!this.#tellPause) return
    this.#tellPause()
    await this.#paused.promise
  }

  paused(): void {
    this.#paused.resolve()
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
    this.#paused.resolve()
    this.#gone.resolve(this.#descriptor)
  }
}
