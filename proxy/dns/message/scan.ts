/** Scans the records of a message: finds where each begins and ends without decoding it. */
import { skipName } from './query.ts'
import { headerBytes, types } from './wire.ts'

export interface Span {
  /** Offset of the owner's name. */
  readonly start: number
  /** Offset after the owner's name, where the type is; class, TTL and length follow. */
  readonly fixed: number
  readonly data: number
  readonly end: number
  readonly type: number
  readonly section: 'answer' | 'authority' | 'additional'
}

/**
 * All records after the question, or undefined when the message is truncated or malformed. With `maxBytes` the scan ends
 * with the first record that extends beyond them. Linear in the length scanned.
 */
export function spans(bytes: Buffer, questionEnd: number, maxBytes = Number.POSITIVE_INFINITY): Span[] | undefined {
  const found: Span[] = []
  let at = questionEnd
  for (const [section, counter] of sections) {
    // The counts come from the sender and may be wrong; each turn consumes at least 11 bytes or ends the scan.
    for (let left = bytes.readUInt16BE(counter); left > 0; left--) {
      const fixed = skipName(bytes, at)
      if (fixed === undefined || fixed + 10 > bytes.length) return undefined
      const data = fixed + 10
      const end = data + bytes.readUInt16BE(fixed + 8)
      if (end > bytes.length) return undefined
      found.push({ start: at, fixed, data, end, type: bytes.readUInt16BE(fixed), section })
      if (end > maxBytes) return found
      at = end
    }
  }
  return found
}

/** Offset after the message's only question; undefined when it does not have exactly one, or that is truncated. */
export function questionEnd(bytes: Buffer): number | undefined {
  if (bytes.length < headerBytes || bytes.readUInt16BE(4) !== 1) return undefined
  const nameEnd = skipName(bytes, headerBytes)
  return nameEnd !== undefined && nameEnd + 4 <= bytes.length ? nameEnd + 4 : undefined
}

const maxPointers = 126

/** The name at an offset, lower case, with dots inside labels and unprintable octets escaped as `\\DDD`. */
export function nameAt(bytes: Buffer, start: number): string | undefined {
  return labelsAt(bytes, start)
    ?.map(label => printable(label.toString('latin1')))
    .join('.')
}

/** The data of a record with its names decompressed; undefined when it is malformed. */
export function decompressedData(bytes: Buffer, span: Span): Buffer | undefined {
  const layout = namesInData.get(span.type)
  if (!layout) return Buffer.from(bytes.subarray(span.data, span.end))
  const parts = [bytes.subarray(span.data, span.data + layout.before)]
  let at = span.data + layout.before
  for (let i = 0; i < layout.names; i++) {
    const name = wireNameAt(bytes, at)
    const end = skipName(bytes, at)
    if (!name || end === undefined || end > span.end) return undefined
    parts.push(name)
    at = end
  }
  return Buffer.concat([...parts, bytes.subarray(at, span.end)])
}

/** Where the names are in the data of types whose names may be compressed (RFC 3597 4). */
const namesInData: ReadonlyMap<number, { readonly before: number; readonly names: number }> = new Map([
  [types.NS, { before: 0, names: 1 }],
  [types.CNAME, { before: 0, names: 1 }],
  [types.SOA, { before: 0, names: 2 }],
  [types.PTR, { before: 0, names: 1 }],
  [types.MX, { before: 2, names: 1 }],
  [types.SRV, { before: 6, names: 1 }],
])

/** The name at an offset in wire form, without pointers. */
function wireNameAt(bytes: Buffer, start: number): Buffer | undefined {
  const labels = labelsAt(bytes, start)
  return labels && Buffer.concat([...labels.flatMap(label => [Buffer.from([label.length]), label]), Buffer.from([0])])
}

/**
 * Pointers must point backward, so that no loop is possible, and not into the header, which differs per client.
 * Undefined when the name is truncated, too long or has such a pointer.
 */
function labelsAt(bytes: Buffer, start: number): Buffer[] | undefined {
  const labels: Buffer[] = []
  let at = start
  let lowest = start
  let length = 0
  let pointers = 0
  for (;;) {
    const label = bytes[at]
    if (label === undefined) return undefined
    if (label === 0) return labels
    if (label >= 0xc0) {
      const low = bytes[at + 1]
      if (low === undefined || ++pointers > maxPointers) return undefined
      at = ((label & 0x3f) << 8) | low
      if (at >= lowest || at < headerBytes) return undefined
      lowest = at
      continue
    }
    const next = at + 1 + label
    length += 1 + label
    if (label > 63 || next > bytes.length || length > 254) return undefined
    labels.push(bytes.subarray(at + 1, next))
    at = next
  }
}

function printable(label: string): string {
  return label
    .replace(/[^\x21-\x2d\x2f-\x5b\x5d-\x7e]/g, octet => `\\${String(octet.charCodeAt(0)).padStart(3, '0')}`)
    .replace(/[A-Z]+/g, letters => letters.toLowerCase())
}

const sections = [
  ['answer', 6],
  ['authority', 8],
  ['additional', 10],
] as const
