/** Splits a watch stream into lines. */
import { hugeObject } from '../budget.ts'
import { checkParts, maxObjectBytes } from './wire.ts'

const what = 'a line of the watch'

/** Splits a byte stream into lines, wherever its chunks end. */
export class LineSplitter {
  #pending: Buffer[] = []
  #pendingBytes = 0

  /** The lines that this chunk completes, without blank ones. Throws OverLimits for one that is too long. */
  push(chunk: Buffer): string[] {
    const lines: string[] = []
    let start = 0
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      const line = this.#complete(chunk.subarray(start, end))
      if (line.trim() !== '') lines.push(line)
      start = end + 1
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start))
    return lines
  }

  /** Whether a line has begun that has not ended. */
  get isWithin(): boolean {
    return this.#pendingBytes > 0
  }

  #complete(tail: Buffer): string {
    if (this.#pending.length === 0) {
      checkParts(tail, what)
      return tail.toString('utf8')
    }
    this.#keep(tail)
    const line = Buffer.concat(this.#pending)
    this.#pending = []
    this.#pendingBytes = 0
    checkParts(line, what)
    return line.toString('utf8')
  }

  #keep(piece: Buffer): void {
    this.#pendingBytes += piece.length
    if (this.#pendingBytes > maxObjectBytes) {
      throw hugeObject(what, `is longer than ${maxObjectBytes} bytes`)
    }
    this.#pending.push(piece)
  }
}
