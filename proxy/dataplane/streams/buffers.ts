/**
 * Memory to read into, kept and used again: `onread` of node:net takes it in place of a fresh 64 KiB for every read, which
 * makes bulk transfers a third cheaper. A connection that is idle or talks little holds a small buffer, one in the middle
 * of a bulk transfer a large one.
 */
const small = 8 * 1024
const large = 64 * 1024
const worthFreeing = 16 * 1024
/** Buffers kept for the next connection: 4 MiB of each size at most. */
const keptBytes = 4 * 1024 * 1024

export class Buffers {
  readonly #small: Buffer[] = []
  readonly #large: Buffer[] = []

  take(size: number): Buffer {
    return (size === large ? this.#large : this.#small).pop() ?? Buffer.allocUnsafeSlow(size)
  }

  /** Only what no read and no write can touch any more. */
  give(buffer: Buffer): void {
    const kept = buffer.length === large ? this.#large : this.#small
    if (kept.length * buffer.length < keptBytes) kept.push(buffer)
  }
}

/**
 * Frees the memory of a chunk that Node has allocated for a read and that is written to the kernel. Left to the garbage
 * collector, a bulk upload makes it mark the whole heap again and again, since it is told of 64 KiB for every read, and each
 * read lands in cold memory. The small ones are not worth the call.
 */
export function free(chunk: Buffer): void {
  const { buffer } = chunk
  if (chunk.length >= worthFreeing && chunk.length === buffer.byteLength && buffer instanceof ArrayBuffer) {
    buffer.transfer(0) // the memory goes with the moved buffer, which nobody holds; the chunk is empty from here on
  }
}

/** Where one socket's bytes arrive. */
export class Inlet {
  /** Takes a chunk and says whether more may come; the memory is its own for the time of the call. */
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

  /** For `onread`: asked before the first read and after each. */
  readonly buffer = (): Buffer => {
    const size = this.#fitting()
    if (this.#buffer?.length === size) return this.#buffer
    this.release()
    this.#size = size
    this.#buffer = this.#buffers.take(size)
    return this.#buffer
  }

  /** The chunk just delivered is still being written: its memory belongs to that write from now on. */
  lend(): void {
    this.#buffer = undefined
  }

  /** After the socket is destroyed. */
  release(): void {
    if (this.#buffer) this.#buffers.give(this.#buffer)
    this.#buffer = undefined
  }

  /** A read that filled a small buffer asks for a large one, a read that a small one would have held gives it back. */
  #fitting(): number {
    if (this.#filled === 0) return this.#size
    return this.#size === small ? (this.#filled === small ? large : small) : this.#filled < small ? small : large
  }
}
