/**
 * Read buffers that are used again: `onread` of node:net takes them in place of a new 64 KiB for every read, which makes bulk
 * transfers a third cheaper. An idle or slow connection holds a small buffer, one in a bulk transfer a large one.
 */
const small = 8 * 1024
const large = 64 * 1024
/** Buffers kept for the next connection: 4 MiB of each size at most. */
const keptBytes = 4 * 1024 * 1024

export class Buffers {
  readonly #small: Buffer[] = []
  readonly #large: Buffer[] = []

  take(size: number): Buffer {
    return (size === large ? this.#large : this.#small).pop() ?? Buffer.allocUnsafeSlow(size)
  }

  /** Takes back a buffer that no read and no write uses any more. */
  give(buffer: Buffer): void {
    const kept = buffer.length === large ? this.#large : this.#small
    if (kept.length * buffer.length < keptBytes) kept.push(buffer)
  }
}

/** Receives one socket's bytes. */
export class Inlet {
  /** Takes a chunk and returns whether to read on. The memory may be used during the call only, unless it is lent. */
  deliver: (chunk: Buffer) => boolean = () => false
  readonly #buffers: Buffers
  #buffer: Buffer | undefined
  #size = small
  #filled = 0

  constructor(buffers: Buffers) {
    this.#buffers = buffers
  }

  /** For `onread`. */
  readonly callback = (length: number): boolean => {
    this.#filled = length
    return this.#buffer !== undefined && this.deliver(this.#buffer.subarray(0, length))
  }

  /** For `onread`: called before the first read and after each. */
  readonly buffer = (): Buffer => {
    const size = this.#fitting()
    if (this.#buffer?.length === size) return this.#buffer
    this.release()
    this.#size = size
    this.#buffer = this.#buffers.take(size)
    return this.#buffer
  }

  /** The chunk just delivered is still being written: that write keeps its memory. */
  lend(): void {
    this.#buffer = undefined
  }

  /** After the socket is destroyed. */
  release(): void {
    if (this.#buffer) this.#buffers.give(this.#buffer)
    this.#buffer = undefined
  }

  /** Large after a read that filled a small buffer, small after a read that would have fitted into one. */
  #fitting(): number {
    if (this.#filled === 0) return this.#size
    return this.#size === small ? (this.#filled === small ? large : small) : this.#filled < small ? small : large
  }
}
