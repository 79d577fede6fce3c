/** Splits a watch stream into lines. */
import { MeshError } from '../../model/error.ts'

/** etcd limits objects to 1.5 MiB; JSON may escape a byte as six. */
const maxLineBytes = 16 << 20

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
    const line = Buffer.concat([...this.#pending, tail]).toString('utf8')
    this.#pending = []
    this.#pendingBytes = 0
    return line
  }

  #keep(piece: Buffer): void {
    this.#pendingBytes += piece.length
    if (this.#pendingBytes > maxLineBytes) {
      throw new MeshError(
        'SOURCE_READ',
        `a line of the watch is longer than ${maxLineBytes} bytes; is this an API server?`,
      )
    }
    this.#pending.push(piece)
  }
}
