/**
 * An encoded reply that serves many queries, and the stamp that makes it the message for one client: id, RD and CD of the
 * query, its case of the question, another order of the addresses, OPT, and the size that the client accepts. Bytes are
 * copied, nothing is encoded; `bench/dns.ts` measures the cost.
 */
import type { Fault, Query } from './query.ts'
import { type Span, spans } from './scan.ts'
import { type ExtendedError, ednsUdpBytes, headerBytes, types } from './wire.ts'

export interface Reply {
  /** Header with id 0, question and records; no OPT. */
  readonly bytes: Buffer
  readonly questionEnd: number
  readonly rcode: number
  /** Adjacent address records of one size, whose order may be rotated. */
  readonly rotatable: { readonly start: number; readonly size: number; readonly count: number } | undefined
  readonly extended: ExtendedError | undefined
  /** Offsets of TTLs that count down; none in replies of our own zones, which have no age. */
  readonly ttlAt: readonly number[]
}

export function replyOf(bytes: Buffer, questionEnd: number, extended?: ExtendedError): Reply {
  const rotatable = rotatableOf(bytes, spans(bytes, questionEnd) ?? [])
  return { bytes, questionEnd, rcode: (bytes[3] as number) & 0x0f, rotatable, extended, ttlAt: [] }
}

/** An expired reply that is served all the same (RFC 8767): with a short TTL and an extended error that says so. */
export function staleReply(reply: Reply, ttlSeconds: number, extended: ExtendedError): Reply {
  const bytes = Buffer.from(reply.bytes)
  for (const at of reply.ttlAt) bytes.writeUInt32BE(ttlSeconds, at)
  return { ...reply, bytes, extended, ttlAt: [] }
}

/** The reply with its age subtracted from the TTLs. */
function aged(reply: Reply, seconds: number): Reply {
  const bytes = Buffer.from(reply.bytes)
  for (const at of reply.ttlAt) bytes.writeUInt32BE(Math.max(0, bytes.readUInt32BE(at) - seconds), at)
  return { ...reply, bytes }
}

/** The message for one client in a buffer of its own. Parameters as for {@link stampInto}. */
export function stamp(reply: Reply, query: Query, maxBytes: number, rotation: number, ageSeconds = 0): Buffer {
  const out = Buffer.allocUnsafe(Math.min(maxBytes, reply.bytes.length + optBytes(reply, query)))
  const length = stampInto(out, reply, query, maxBytes, rotation, ageSeconds)
  return length === out.length ? out : out.subarray(0, length)
}

/**
 * Writes the message for one client into `out` and returns its length, at most `maxBytes`. `rotation` chooses which
 * address comes first; `ageSeconds` is subtracted from the TTLs.
 */
export function stampInto(
  out: Buffer,
  fresh: Reply,
  query: Query,
  maxBytes: number,
  rotation: number,
  ageSeconds: number,
): number {
  const reply = ageSeconds > 0 && fresh.ttlAt.length > 0 ? aged(fresh, ageSeconds) : fresh
  const opt = optBytes(reply, query)
  const fits = reply.bytes.length + opt <= maxBytes
  const whole = fits ? reply.bytes : truncated(reply, maxBytes - opt, rotation)
  const length = whole.length
  out.set(whole)
  out[0] = query.bytes[0] as number
  out[1] = query.bytes[1] as number
  out[2] = (out[2] as number) | ((query.bytes[2] as number) & 0x01)
  const asked = query.bytes[3] as number
  // AD is sent only to clients that set DO or AD themselves (RFC 6840 5.7).
  const allowed = query.dnssec || (asked & 0x20) !== 0 ? 0xff : 0xdf
  out[3] = ((out[3] as number) & allowed) | (asked & 0x10)
  // Case and type as the client sent them (NXDOMAIN is cached for all types). A loop, since copying a part allocates an object for it.
  for (let at = headerBytes; at < query.end; at++) out[at] = query.bytes[at] as number
  if (reply.rotatable && fits) rotateAddresses(out, reply, rotation)
  if (opt > 0) writeOpt(out, length, reply.rcode, query.dnssec, reply.extended)
  return length + opt
}

function optBytes({ extended }: Reply, { edns }: Query): number {
  return edns ? 11 + (extended ? 6 + extended.text.length : 0) : 0
}

/** The reply to an invalid query: header, the question if it was readable, OPT if there was one. */
export function faultReply(bytes: Buffer, fault: Fault): Buffer {
  const out = Buffer.alloc(fault.end + (fault.edns ? 11 : 0))
  bytes.copy(out, 0, 0, 4)
  // Opcode and RD as asked (0x79), QR set; AA, TC, RA, Z, AD and CD clear.
  out[2] = 0x80 | ((bytes[2] as number) & 0x79)
  out[3] = fault.rcode & 0x0f
  if (fault.end > headerBytes) {
    out[5] = 1
    bytes.copy(out, headerBytes, headerBytes, fault.end)
  }
  if (fault.edns) writeOpt(out, fault.end, fault.rcode, false, undefined)
  return out
}

/** An empty reply with TC, which makes the client retry over TCP. For clients over their rate. */
export function truncatedReply(query: Query): Buffer {
  const out = faultReply(query.bytes, { rcode: 0, end: query.end, edns: query.edns })
  out[2] = (out[2] as number) | 0x02
  return out
}

/** The upper bits of the rcode and DO take the place of a record's TTL (RFC 6891 6.1.3). */
function writeOpt(out: Buffer, at: number, rcode: number, dnssec: boolean, extended: ExtendedError | undefined): void {
  out[11] = (out[11] as number) + 1
  out[at] = 0
  out.writeUInt16BE(types.OPT, at + 1)
  out.writeUInt16BE(ednsUdpBytes, at + 3)
  out[at + 5] = rcode >> 4
  out[at + 6] = 0
  out[at + 7] = dnssec ? 0x80 : 0
  out[at + 8] = 0
  out.writeUInt16BE(extended ? 6 + extended.text.length : 0, at + 9)
  if (!extended) return
  out.writeUInt16BE(15, at + 11)
  out.writeUInt16BE(2 + extended.text.length, at + 13)
  out.writeUInt16BE(extended.code, at + 15)
  out.write(extended.text, at + 17, 'latin1')
}

function rotateAddresses(out: Buffer, reply: Reply, rotation: number): void {
  const { start, size, count } = reply.rotatable as NonNullable<Reply['rotatable']>
  const first = (rotation % count) * size
  if (first === 0) return
  const end = start + size * count
  reply.bytes.copy(out, start, start + first, end)
  reply.bytes.copy(out, end - first, start, start + first)
}

/**
 * A run of at least two address records with the same owner, written as the same pointer to before the run: nothing else
 * in the message points into them, so they can change places.
 */
function rotatableOf(bytes: Buffer, records: readonly Span[]): Reply['rotatable'] {
  const first = records.find(r => r.section === 'answer' && (r.type === types.A || r.type === types.AAAA))
  if (!first || first.fixed - first.start !== 2) return undefined
  const owner = bytes.readUInt16BE(first.start)
  const size = first.end - first.start
  if (owner < 0xc000 || (owner & 0x3fff) >= first.start) return undefined
  let count = 0
  for (const record of records.slice(records.indexOf(first))) {
    const alike = record.type === first.type && record.section === 'answer' && record.end - record.start === size
    if (!alike || record.fixed - record.start !== 2 || bytes.readUInt16BE(record.start) !== owner) break
    count++
  }
  return count > 1 ? { start: first.start, size, count } : undefined
}

/**
 * As many records as fit. Additional records are left out first, without TC; then records from the end, with TC:
 * addresses one by one, since clients without TCP can use some of them (RFC 2181 9 allows it), other record sets whole or
 * not at all. Over TCP sets are split, since there is no larger transport to retry on.
 *
 * Scans no further than what fits, so that a long answer costs no more than a short one.
 */
function truncated(reply: Reply, maxBytes: number, rotation: number): Buffer {
  const { questionEnd } = reply
  const bytes = Buffer.from(reply.bytes)
  if (reply.rotatable) rotateAddresses(bytes, reply, rotation)
  const needed = (spans(bytes, questionEnd, maxBytes) ?? []).filter(r => r.section !== 'additional')
  const total = bytes.readUInt16BE(6) + bytes.readUInt16BE(8)
  const whole = maxBytes <= ednsUdpBytes
  let kept = needed.length
  while (kept > 0 && (needed[kept - 1]?.end ?? 0) > maxBytes) kept--
  while (whole && kept > 0 && kept < needed.length && sameSet(bytes, needed[kept - 1], needed[kept])) kept--
  const end = kept > 0 ? (needed[kept - 1]?.end ?? questionEnd) : questionEnd
  const out = bytes.subarray(0, end)
  if (kept < total) out[2] = (out[2] as number) | 0x02
  const answers = needed.slice(0, kept).filter(r => r.section === 'answer').length
  out.writeUInt16BE(answers, 6)
  out.writeUInt16BE(kept - answers, 8)
  out.writeUInt16BE(0, 10)
  return out
}

function sameSet(bytes: Buffer, last: Span | undefined, next: Span | undefined): boolean {
  if (!last || !next || last.type !== next.type || last.section !== next.section) return false
  if (last.type === types.A || last.type === types.AAAA) return false
  return bytes.subarray(last.start, last.fixed).equals(bytes.subarray(next.start, next.fixed))
}
