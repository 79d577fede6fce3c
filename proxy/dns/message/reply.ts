/**
 * An encoded reply that serves many queries, and the stamp that makes one client's message of it: the id, RD and CD of
 * the query, its spelling of the question, another order of the addresses, OPT, and the size that the client can take.
 * Bytes are copied, nothing is encoded: this is the fast way of an answer, and `bench/dns.ts` holds what it costs.
 */
import type { Fault, Query } from './query.ts'
import { type Span, spans } from './scan.ts'
import { type ExtendedError, ednsUdpBytes, headerBytes, types } from './wire.ts'

export interface Reply {
  /** Header with id 0, question and records; no OPT. */
  readonly bytes: Buffer
  readonly questionEnd: number
  readonly rcode: number
  /** Address records of one size that stand together, whose order may change. */
  readonly turning: { readonly start: number; readonly size: number; readonly count: number } | undefined
  readonly extended: ExtendedError | undefined
  /** Where TTLs stand that count down; none in our own replies, which have no age. */
  readonly ttlAt: readonly number[]
}

export function replyOf(bytes: Buffer, questionEnd: number, extended?: ExtendedError): Reply {
  const turning = turningOf(bytes, spans(bytes, questionEnd) ?? [])
  return { bytes, questionEnd, rcode: (bytes[3] as number) & 0x0f, turning, extended, ttlAt: [] }
}

/** A reply past its time, still better than none (RFC 8767): with a short life, and saying what it is. */
export function staleReply(reply: Reply, ttlSeconds: number, extended: ExtendedError): Reply {
  const bytes = Buffer.from(reply.bytes)
  for (const at of reply.ttlAt) bytes.writeUInt32BE(ttlSeconds, at)
  return { ...reply, bytes, extended, ttlAt: [] }
}

/** Takes the age off the TTLs in a message made of a reply; before it is cut or stamped. */
function aged(reply: Reply, seconds: number): Reply {
  const bytes = Buffer.from(reply.bytes)
  for (const at of reply.ttlAt) bytes.writeUInt32BE(Math.max(0, bytes.readUInt32BE(at) - seconds), at)
  return { ...reply, bytes }
}

/** The message for one client, in memory of its own. */
export function stamp(reply: Reply, query: Query, mostBytes: number, turn: number, ageSeconds = 0): Buffer {
  const out = Buffer.allocUnsafe(Math.min(mostBytes, reply.bytes.length + optBytes(reply, query)))
  const length = stampInto(out, reply, query, mostBytes, turn, ageSeconds)
  return length === out.length ? out : out.subarray(0, length)
}

/**
 * Writes the message for one client, and returns its length, which is at most `mostBytes`. `turn` chooses which address
 * comes first; `ageSeconds` counts down the TTLs.
 */
export function stampInto(
  out: Buffer,
  fresh: Reply,
  query: Query,
  mostBytes: number,
  turn: number,
  ageSeconds: number,
): number {
  const reply = ageSeconds > 0 && fresh.ttlAt.length > 0 ? aged(fresh, ageSeconds) : fresh
  const opt = optBytes(reply, query)
  const fits = reply.bytes.length + opt <= mostBytes
  const whole = fits ? reply.bytes : cut(reply, mostBytes - opt, turn)
  const length = whole.length
  out.set(whole)
  out[0] = query.bytes[0] as number
  out[1] = query.bytes[1] as number
  out[2] = (out[2] as number) | ((query.bytes[2] as number) & 0x01)
  const asked = query.bytes[3] as number
  // AD only for who understands it: DO or AD in the query (RFC 6840 5.7).
  const known = query.dnssec || (asked & 0x20) !== 0 ? 0xff : 0xdf
  out[3] = ((out[3] as number) & known) | (asked & 0x10)
  // The client's own spelling, and type: a missing name is missing for all. A loop, since a copy of a part makes an object for the part first.
  for (let at = headerBytes; at < query.end; at++) out[at] = query.bytes[at] as number
  if (reply.turning && fits) turnAddresses(out, reply, turn)
  if (opt > 0) writeOpt(out, length, reply.rcode, query.dnssec, reply.extended)
  return length + opt
}

function optBytes({ extended }: Reply, { edns }: Query): number {
  return edns ? 11 + (extended ? 6 + extended.text.length : 0) : 0
}

/** The reply to what is no proper query: header, the question if it could be read, OPT if there was one. */
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

/** An empty reply with TC: come again over TCP. For clients over their rate. */
export function truncatedReply(query: Query): Buffer {
  const out = faultReply(query.bytes, { rcode: 0, end: query.end, edns: query.edns })
  out[2] = (out[2] as number) | 0x02
  return out
}

/** Extended rcode bits and DO go where a record has its TTL (RFC 6891 6.1.3). */
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

function turnAddresses(out: Buffer, reply: Reply, turn: number): void {
  const { start, size, count } = reply.turning as NonNullable<Reply['turning']>
  const first = (turn % count) * size
  if (first === 0) return
  const end = start + size * count
  reply.bytes.copy(out, start, start + first, end)
  reply.bytes.copy(out, end - first, start, start + first)
}

/**
 * The run of at least two address records with one owner, given as the same pointer to before the run: they can change
 * places, and nothing that points here would notice.
 */
function turningOf(bytes: Buffer, records: readonly Span[]): Reply['turning'] {
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
 * As much as fits: additional records go first, and that needs no TC. Then records from the end, with TC; addresses one
 * by one, since clients without TCP make do with some (RFC 2181 9 allows it), other sets whole or not at all. Where TCP
 * itself is too small there is no other way to come, and some of a set are better than none.
 *
 * Looks no further than what fits, so that many questions for a long answer cost no more than for a short one.
 */
function cut(reply: Reply, mostBytes: number, turn: number): Buffer {
  const { questionEnd } = reply
  const bytes = Buffer.from(reply.bytes)
  if (reply.turning) turnAddresses(bytes, reply, turn)
  const needed = (spans(bytes, questionEnd, mostBytes) ?? []).filter(r => r.section !== 'additional')
  const total = bytes.readUInt16BE(6) + bytes.readUInt16BE(8)
  const whole = mostBytes <= ednsUdpBytes
  let kept = needed.length
  while (kept > 0 && (needed[kept - 1]?.end ?? 0) > mostBytes) kept--
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
