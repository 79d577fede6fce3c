/** The bytes of large transfers: a pattern that does not repeat within the length of a buffer, and its checksum. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { crc32 } from 'node:zlib'
import { pattern } from '../../../support/backend.ts'

// Not a power of two, so that no buffer on the way has its length.
const block = pattern(1_048_573)

/** The number of bytes and their CRC-32. */
export class Checksum {
  #bytes = 0
  #crc = 0

  add(data: Buffer): void {
    this.#bytes += data.length
    this.#crc = crc32(data, this.#crc)
  }

  toString(): string {
    return `${this.#bytes} ${this.#crc}`
  }
}

/** Of what `send` sends. */
export function expected(bytes: number): Checksum {
  const sum = new Checksum()
  for (let left = bytes; left > 0; left -= block.length) sum.add(block.subarray(0, left))
  return sum
}

export async function send(socket: Socket, bytes: number): Promise<void> {
  for (let left = bytes; left > 0; left -= block.length) {
    if (!socket.write(block.subarray(0, left))) await once(socket, 'drain')
  }
}
