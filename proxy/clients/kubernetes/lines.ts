/** Splits a watch stream into lines. */
import { hugeObject } from '../budget.ts'

/** etcd limits objects to 1.5 MiB, and a slice to 1000 endpoints; JSON takes more room, but no real object comes near this. */
export const maxObjectBytes = 4 << 20

/** Splits a byte stream into lines, wherever its chunks end. */
export class LineSplitter {
  #pending: Buffer[] = []
  #pendingBytes = 0

  /** The lines that this chunk completes, without blank ones. */
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

  #complete(tail: Buffer): string {
    if (this.#pending.length === 0) return tail.toString('utf8')
    this.#keep(tail)
    const line = Buffer.concat(this.#pending).toString('utf8')
    this.#pending = []
    this.#pendingBytes = 0
    return line
  }

  #keep(piece: Buffer): void {
    this.#pendingBytes += piece.length
    if (this.#pendingBytes > maxObjectBytes) {
      throw hugeObject('a line of the watch', maxObjectBytes)
    }
    this.#pending.push(piece)
  }
}
