/** A socket that the pump's thread accepts from or reads: closing it is a command to the pump, which answers when it is done. */
export class PumpSocket {
  readonly #tell: () => void
  readonly #closed = Promise.withResolvers<void>()

  /** `tell` sends the command; {@link closed} is the pump's answer. */
  constructor(tell: () => void) {
    this.#tell = tell
  }

  /** Resolves when the address is free. */
  close(): Promise<void> {
    this.#tell()
    return this.#closed.promise
  }

  /** The pump has closed it, or has ended. */
  closed(): void {
    this.#closed.resolve()
  }
}
