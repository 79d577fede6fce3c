/**
 * Parses and checks a query. Any bytes cost one pass over them and give a valid query, an error to send back, or no reply
 * at all (RFC 1035 4.1, 6891, 8906, 9619).
 *
 * The name is left in the message; it becomes text only where zones are searched. `nameHash` is computed over the
 * lower-case bytes, so that questions that differ in case alone (0x20) share one cached reply.
 */
import { classes, ednsUdpBytes, headerBytes, plainUdpBytes, rcodes, types } from './wire.ts'

export interface Query {
  /** The message; the buffer may be longer, since sockets reuse their memory. */
  readonly bytes: Buffer
  /** Bytes of the message. */
  readonly length: number
  readonly type: number
  /** Offset after the name, where the type is. */
  readonly nameEnd: number
  /** Offset after the question. */
  readonly end: number
  /** FNV-1a over the lower-case name. */
  readonly nameHash: number
  readonly edns: boolean
  /** The largest UDP reply this client accepts, within our own limit. */
  readonly udpBytes: number
  /** RD: the client asks for recursion. */
  readonly recursion: boolean
  /** DO: the client wants DNSSEC records. */
  readonly dnssec: boolean
}

/** An invalid query that gets an error reply. `end` is the offset after the question, or 12 when that did not parse. */
export interface Fault {
  readonly rcode: number
  readonly end: number
  readonly edns: boolean
}

const maxAdditional = 2

/** Undefined: the message gets no reply. It is too short to carry an id, or is a reply itself (RFC 1035 7.3). */
export function readQuery(bytes: Buffer, length = bytes.length): Query | Fault | undefined {
  if (length < headerBytes) return undefined
  const flags = bytes[2] as number
  if (flags & 0x80) return undefined
  if (flags & 0x78) return fault(rcodes.NOTIMP, headerBytes)
  if (uint16(bytes, 4) !== 1 || uint16(bytes, 6) !== 0 || uint16(bytes, 8) !== 0)
    return fault(rcodes.FORMERR, headerBytes)
  const additional = uint16(bytes, 10)
  if (additional > maxAdditional) return fault(rcodes.FORMERR, headerBytes)

  // FNV-1a. Length octets are below 64, so folding them as if they were letters changes nothing.
  let hash = 0x811c9dc5
  let at = headerBytes
  const limit = Math.min(length, headerBytes + 255)
  for (;;) {
    const label = at < limit ? (bytes[at] as number) : 64
    // The first name has nothing to point back to, and 0x40 and 0x80 are not assigned: plain labels or FORMERR.
    const next = at + 1 + label
    if (label > 63 || next > limit) return fault(rcodes.FORMERR, headerBytes)
    for (; at < next; at++) hash = Math.imul(hash ^ folded(bytes[at] as number), 0x01000193)
    if (label === 0) break
  }
  if (at + 4 > length) return fault(rcodes.FORMERR, headerBytes)
  const type = uint16(bytes, at)
  const end = at + 4
  const opt = additional > 0 ? readAdditional(bytes, length, end, additional) : undefined
  if (opt === 'broken') return fault(rcodes.FORMERR, end)
  if (opt && opt.version !== 0) return fault(rcodes.BADVERS, end, true)
  const edns = opt !== undefined
  if (uint16(bytes, at + 2) !== classes.IN) return fault(rcodes.REFUSED, end, edns)
  const udpBytes = opt ? Math.max(plainUdpBytes, Math.min(opt.size, ednsUdpBytes)) : plainUdpBytes
  const recursion = (flags & 0x01) !== 0
  const dnssec = opt?.dnssec ?? false
  return { bytes, length, type, nameEnd: at, end, nameHash: hash, edns, udpBytes, recursion, dnssec }
}

interface Opt {
  readonly size: number
  readonly version: number
  readonly dnssec: boolean
}

/** The OPT record of the additional section, if any; others (TSIG, SIG(0)) are skipped, since we hold no keys. */
function readAdditional(bytes: Buffer, length: number, start: number, count: number): Opt | 'broken' | undefined {
  let opt: Opt | undefined
  let at = start
  for (let i = 0; i < count; i++) {
    const owner = at
    const fixed = skipName(bytes, at, length)
    if (fixed === undefined || fixed + 10 > length) return 'broken'
    at = fixed + 10 + uint16(bytes, fixed + 8)
    if (at > length) return 'broken'
    if (uint16(bytes, fixed) !== types.OPT) continue
    if (opt || bytes[owner] !== 0 || !areValidOptions(bytes, fixed + 10, at)) return 'broken'
    opt = {
      size: uint16(bytes, fixed + 2),
      version: bytes[fixed + 5] as number,
      dnssec: ((bytes[fixed + 6] as number) & 0x80) !== 0,
    }
  }
  return opt
}

/** Unknown options are valid (RFC 6891 6.1.2), options that do not fit in their record are not. */
function areValidOptions(bytes: Buffer, start: number, end: number): boolean {
  let at = start
  while (at < end) {
    if (at + 4 > end) return false
    at += 4 + uint16(bytes, at + 2)
  }
  return at === end
}

/** Offset after a name that may end in a pointer; undefined when it is truncated or malformed. */
export function skipName(bytes: Buffer, start: number, length = bytes.length): number | undefined {
  let at = start
  while (at < length && at - start < 255) {
    const label = bytes[at] as number
    if (label === 0) return at + 1
    if (label >= 0xc0) return at + 2 <= length ? at + 2 : undefined
    if (label > 63) return undefined
    at += 1 + label
  }
  return undefined
}

/** The query with its own copy of the message, for answers that take time: sockets reuse theirs. */
export function copyQuery(query: Query): Query {
  return { ...query, bytes: Buffer.from(query.bytes.subarray(0, query.length)) }
}

/** A-Z to a-z and nothing else: DNS ignores case in ASCII only (RFC 4343). */
export function folded(octet: number): number {
  return octet >= 65 && octet <= 90 ? octet | 32 : octet
}

/** The labels of the question, lower case, one character per octet; none for the root. */
export function labelsOf(query: Query): string[] {
  const labels: string[] = []
  for (let at = headerBytes; query.bytes[at] !== 0; ) {
    const next = at + 1 + (query.bytes[at] as number)
    labels.push(lower(query.bytes.toString('latin1', at + 1, next)))
    at = next
  }
  return labels
}

/** The name of the question as it came, in wire form, one character to an octet. */
export function nameOf({ bytes, nameEnd }: Query): string {
  return bytes.toString('latin1', headerBytes, nameEnd)
}

/** Whether the labels, joined by dots, can be split into the same labels again: printable and without dots. */
export function isPlain(labels: readonly string[]): boolean {
  return labels.every(label => /^[\x21-\x2d\x2f-\x7e]+$/.test(label))
}

function lower(label: string): string {
  return label.replace(/[A-Z]+/g, letters => letters.toLowerCase())
}

function fault(rcode: number, end: number, edns = false): Fault {
  return { rcode, end, edns }
}

function uint16(bytes: Buffer, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number)
}
