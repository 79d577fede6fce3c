/**
 * UDP over a stream: HTTP Datagrams in capsules (RFC 9297, 3) with context id 0 (RFC 9298, 5). A capsule is a type and a length,
 * each a variable-length integer (RFC 9000, 16), and the bytes.
 */

const datagramCapsule = 0x00
/**
 * Of Starlanes: the last capsule of a gateway whose backend's host has refused what was sent. It has no value. Others skip it (RFC 9297, 3.2), as
 * they do all capsules that they do not know.
 */
const refusalCapsule = 0x13544152
/** The largest UDP payload. */
const maxPayload = 65_527
const maxCapsule = maxPayload + 8

/** A datagram as a capsule. */
export function encodeDatagram(payload: Uint8Array): Buffer {
  const head = [...varint(datagramCapsule), ...varint(payload.length + 1), 0]
  const capsule = Buffer.allocUnsafe(head.length + payload.length)
  capsule.set(head)
  capsule.set(payload, head.length)
  return capsule
}

/** That the backend's host refuses what was sent, as a capsule. */
export function encodeRefusal(): Buffer {
  return Buffer.from([...varint(refusalCapsule), ...varint(0)])
}

/** Takes the bytes of a stream in pieces of any size, and passes on each datagram. Capsules of other types are skipped (RFC 9297, 3.2). */
export class DatagramReader {
  readonly #take: (payload: Buffer) => void
  #kept: Buffer = Buffer.alloc(0)
  #skip = 0
  #isRefused = false

  constructor(take: (payload: Buffer) => void) {
    this.#take = take
  }

  /** Whether the backend's host has refused what was sent. */
  get isRefused(): boolean {
    return this.#isRefused
  }

  /** Returns false when a datagram is too large for UDP: the stream is of no more use. */
  push(chunk: Buffer): boolean {
    this.#kept = this.#kept.length === 0 ? chunk : Buffer.concat([this.#kept, chunk])
    for (;;) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, this.#kept.length)
        this.#kept = this.#kept.subarray(skipped)
        this.#skip -= skipped
        if (this.#skip > 0) return true
      }
      const type = readVarint(this.#kept, 0)
      const length = type && readVarint(this.#kept, type.end)
      if (!length) return true
      if (type.value !== datagramCapsule) {
        if (type.value === refusalCapsule) this.#isRefused = true
        this.#kept = this.#kept.subarray(length.end)
        this.#skip = length.value
        continue
      }
      if (length.value > maxCapsule) return false
      const end = length.end + length.value
      if (this.#kept.length < end) return true
      this.#datagram(this.#kept.subarray(length.end, end))
      this.#kept = this.#kept.subarray(end)
    }
  }

  /** A context other than 0 is of an extension that was not negotiated: dropped (RFC 9298, 4). */
  #datagram(value: Buffer): void {
    const context = readVarint(value, 0)
    if (context?.value === 0) this.#take(value.subarray(context.end))
  }
}

function varint(value: number): number[] {
  if (value < 1 << 6) return [value]
  if (value < 1 << 14) return [0x40 | (value >> 8), value & 0xff]
  return [0x80 | (value >>> 24), (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff]
}

/** Undefined while the bytes are not complete. Values beyond 2^53 are never complete: no capsule is so long. */
function readVarint(bytes: Buffer, at: number): { readonly value: number; readonly end: number } | undefined {
  const first = bytes[at]
  if (first === undefined) return undefined
  const size = 1 << (first >> 6)
  if (bytes.length < at + size) return undefined
  let value = first & 0x3f
  for (let i = 1; i < size; i++) value = value * 256 + (bytes[at + i] as number)
  return { value, end: at + size }
}
