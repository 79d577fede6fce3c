/**
 * Turns an upstream's message into a reply of ours: removes what belongs to one hop (id, OPT, RD) and what is only true of
 * the upstream (AA), and limits the TTLs. The records are passed on byte for byte.
 */
import { folded } from '../message/query.ts'
import { type Reply, replyOf } from '../message/reply.ts'
import { decompressedData, nameAt, questionEnd, type Span, spans } from '../message/scan.ts'
import { headerBytes, rcodes, types } from '../message/wire.ts'

export interface Lifetimes {
  readonly maxSeconds: number
  readonly maxNegativeSeconds: number
}

export interface Normalized {
  readonly reply: Reply
  /** How long it may be cached, in seconds; 0 for not at all. */
  readonly ttlSeconds: number
}

/** Undefined when the message is malformed. */
export function normalize(message: Buffer, limits: Lifetimes): Normalized | undefined {
  const asked = questionEnd(message)
  const all = asked === undefined ? undefined : spans(message, asked)
  if (asked === undefined || !all) return undefined
  const opt = all.findIndex(record => record.type === types.OPT)
  // Names point backward only, so the end can be dropped: only signatures of the hop (TSIG, SIG(0)) follow OPT.
  const kept = opt < 0 ? all : all.slice(0, opt)
  const header = all[opt]
  // The upper bits of the rcode are in OPT's TTL; all such codes are errors between us and the upstream.
  if (header && (header.section !== 'additional' || message[header.fixed + 4] !== 0)) return undefined
  const bytes = Buffer.from(message.subarray(0, kept.at(-1)?.end ?? asked))
  const isTruncated = ((message[2] as number) & 0x02) !== 0
  const rcode = (message[3] as number) & 0x0f
  bytes.writeUInt16BE(0, 0)
  bytes[2] = isTruncated ? 0x82 : 0x80
  bytes[3] = 0x80 | ((message[3] as number) & 0x20) | rcode
  bytes.writeUInt16BE(kept.filter(record => record.section === 'additional').length, 10)

  const type = bytes.readUInt16BE(asked - 4)
  const negative =
    rcode === rcodes.NXDOMAIN || !kept.some(r => r.section === 'answer' && (r.type === type || type === types.ANY))
  const cap = negative ? limits.maxNegativeSeconds : limits.maxSeconds
  for (const record of kept) {
    bytes.writeUInt32BE(Math.min(ttlOf(bytes, record), cap), record.fixed + 4)
    foldOwner(bytes, record, asked)
  }
  // Every name must still be readable in what is kept.
  if (!kept.every(record => nameAt(bytes, record.start) !== undefined && decompressedData(bytes, record)))
    return undefined
  const lifetimes = kept.map(record => ttlOf(bytes, record))
  const allowed = negative ? [...lifetimes, denialSeconds(bytes, kept)] : lifetimes
  const ttlSeconds = isTruncated || allowed.length === 0 ? 0 : Math.min(...allowed)
  return { reply: { ...replyOf(bytes, asked), ttlAt: kept.map(record => record.fixed + 4) }, ttlSeconds }
}

/** An owner that repeats the name asked for has it in the random case in which we asked, which is no client's business. */
function foldOwner(bytes: Buffer, { start, fixed }: Span, asked: number): void {
  const length = asked - 4 - headerBytes
  if (fixed - start !== length) return
  for (let i = 0; i < length; i++) {
    if (folded(bytes[start + i] as number) !== folded(bytes[headerBytes + i] as number)) return
  }
  for (let at = start; at < fixed; at++) bytes[at] = folded(bytes[at] as number)
}

/** A TTL with the highest bit set is 0 (RFC 2181 8). */
function ttlOf(bytes: Buffer, record: Span): number {
  const ttl = bytes.readUInt32BE(record.fixed + 4)
  return ttl > 0x7fffffff ? 0 : ttl
}

/** How long a denial may be cached: the last field of the SOA (RFC 2308 5); 0 without one. */
function denialSeconds(bytes: Buffer, records: readonly Span[]): number {
  const soa = records.find(record => record.section === 'authority' && record.type === types.SOA)
  return soa && soa.end - soa.data >= 22 ? bytes.readUInt32BE(soa.end - 4) : 0
}
