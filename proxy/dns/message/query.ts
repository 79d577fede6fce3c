/**
 * Reads a query, and is the guard before everything else: whatever bytes come in, it costs one pass over them and
 * ends in a question that may be answered, in an error to send back, or in nothing (RFC 1035 4.1, 6891, 8906, 9619).
 *
 * The name stays on the wire: only the slow way makes text of it. `nameHash` is over the folded bytes, so that questions
 * that differ in case alone (0x20) find the same reply.
 */
import { classes, ednsUdpBytes, headerBytes, plainUdpBytes, rcodes, types } from './wire.ts'

export interface Query {
  /** The message as it came, and perhaps more behind it: what a socket's memory held before. */
  readonly bytes: Buffer
  /** Of the message. */
  readonly length: number
  readonly type: number
  /** Offset behind the name, where the type stands. */
  readonly nameEnd: number
  /** Offset behind the question. */
  readonly end: number
  /** Of the name, case folded. */
  readonly nameHash: number
  readonly edns: boolean
  /** How large a UDP reply may be for this client. */
  readonly udpBytes: number
  /** RD: the client wants others asked on its behalf. */
  readonly recursion: boolean
  /** DO: the client wants DNSSEC records. */
  readonly dnssec: boolean
}

/** What is wrong with a message, for the error reply. `end` is 12 when the question did not parse. */
export interface Fault {
  readonly rcode: number
  readonly end: number
  readonly edns: boolean
}

const mostAdditional = 2

/** Undefined: not to be answered at all (too short to have a sender's id, or itself a reply: RFC 1035 7.3). */
export function readQuery(bytes: Buffer, length = bytes.length): Query | Fault | undefined {
  if (length < headerBytes) return undefined
  const flags = bytes[2] as number
  if (flags & 0x80) return undefined
  if (flags & 0x78) return fault(rcodes.NOTIMP, headerBytes)
  if (counts(bytes, 4) !== 1 || counts(bytes, 6) !== 0 || counts(bytes, 8) !== 0)
    return fault(rcodes.FORMERR, headerBytes)
  const additional = counts(bytes, 10)
  if (additional > mostAdditional) return fault(rcodes.FORMERR, headerBytes)

  // FNV-1a. Length octets are below 64 and so are never taken for letters.
  let hash = 0x811c9dc5
  let at = headerBytes
  const limit = Math.min(length, headerBytes + 255)
  for (;;) {
    const label = at < limit ? (bytes[at] as number) : 64
    // The only question has nothing before it to point to, and 0x40 and 0x80 mean nothing: plain labels or FORMERR.
    const next = at + 1 + label
    if (label > 63 || next > limit) return fault(rcodes.FORMERR, headerBytes)
    for (; at < next; at++) hash = Math.imul(hash ^ folded(bytes[at] as number), 0x01000193)
    if (label === 0) break
  }
  if (at + 4 > length) return fault(rcodes.FORMERR, headerBytes)
  const type = counts(bytes, at)
  const end = at + 4
  const opt = additional > 0 ? readAdditional(bytes, length, end, additional) : undefined
  if (opt === 'broken') return fault(rcodes.FORMERR, end)
  if (opt && opt.version !== 0) return fault(rcodes.BADVERS, end, true)
  const edns = opt !== undefined
  if (counts(bytes, at + 2) !== classes.IN) return fault(rcodes.REFUSED, end, edns)
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

/** The OPT record among the additional ones, if any; others (TSIG, SIG(0)) are stepped over, since we keep no keys. */
function readAdditional(bytes: Buffer, length: number, start: number, count: number): Opt | 'broken' | undefined {
  let opt: Opt | undefined
  let at = start
  for (let i = 0; i < count; i++) {
    const owner = at
    const fixed = skipName(bytes, at, length)
    if (fixed === undefined || fixed + 10 > length) return 'broken'
    at = fixed + 10 + counts(bytes, fixed + 8)
    if (at > length) return 'broken'
    if (counts(bytes, fixed) !== types.OPT) continue
    if (opt || bytes[owner] !== 0 || !soundOptions(bytes, fixed + 10, at)) return 'broken'
    opt = {
      size: counts(bytes, fixed + 2),
      version: bytes[fixed + 5] as number,
      dnssec: ((bytes[fixed + 6] as number) & 0x80) !== 0,
    }
  }
  return opt
}

/** Unknown options are fine (RFC 6891 6.1.2), options longer than their record are not. */
function soundOptions(bytes: Buffer, start: number, end: number): boolean {
  let at = start
  while (at < end) {
    if (at + 4 > end) return false
    at += 4 + counts(bytes, at + 2)
  }
  return at === end
}

/** Offset behind a name that may end in a pointer; undefined when it is cut or not a name. */
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

/** The same query in memory of its own, for answers that take their time: sockets may use theirs again. */
export function held(query: Query): Query {
  return { ...query, bytes: Buffer.from(query.bytes.subarray(0, query.length)) }
}

/** A-Z to a-z and nothing else: DNS folds ASCII only (RFC 4343). */
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

/** Whether labels can be text between dots and come back the same. */
export function isPlain(labels: readonly string[]): boolean {
  return labels.every(label => /^[\x21-\x2d\x2f-\x7e]+$/.test(label))
}

function lower(label: string): string {
  return label.replace(/[A-Z]+/g, letters => letters.toLowerCase())
}

function fault(rcode: number, end: number, edns = false): Fault {
  return { rcode, end, edns }
}

function counts(bytes: Buffer, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number)
}
