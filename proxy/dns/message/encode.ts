/**
 * Encodes records with dns2's codec. Our own are a writer of whole bytes (dns2's writes single bits), SRV targets without
 * compression (RFC 2782 forbids it, dns2 does it), and the question, echoed octet for octet.
 *
 * Names are compressed against the question first. Owner names therefore keep the case of the query (RFC 4343), and one
 * encoded reply serves a question in any case.
 */
import dns2 from 'dns2'
import ipaddr from 'ipaddr.js'
import type { Query } from './query.ts'
import type {
  AddressRecord,
  AuthorityRecord,
  DnsRecord,
  NameRecord,
  OpaqueRecord,
  ServerRecord,
  TextRecord,
} from './record.ts'
import { type Reply, replyOf } from './reply.ts'
import { classes, type ExtendedError, headerBytes, types } from './wire.ts'

const { Packet } = dns2
type Resource = Parameters<typeof Packet.Resource.encode>[0]

export interface Sections {
  readonly answers: readonly DnsRecord[]
  readonly authority: readonly DnsRecord[]
  readonly additional: readonly DnsRecord[]
}

/** What of the header is known before the query; id, RD and CD are written per query. */
export interface Flags {
  readonly authoritative: boolean
  readonly rcode: number
}

/** A reply to one query from records, ready to be stamped for that query and for others with the same question. */
export function encodeReply(query: Query, flags: Flags, sections: Sections, extended?: ExtendedError): Reply {
  const question = query.bytes.subarray(headerBytes, query.end)
  return replyOf(encode(question, flags, sections), query.end, extended)
}

export const noRecords: Sections = { answers: [], authority: [], additional: [] }

/** `question` is the wire form of name, type and class. The result has id 0 and no OPT. */
export function encode(question: Buffer, flags: Flags, sections: Sections): Buffer {
  const writer = new ByteWriter()
  writer.write(0, 16)
  // RA is always set: we do recurse, and some resolvers skip a server that says it does not.
  writer.write(0x8000 | (flags.authoritative ? 0x0400 : 0) | 0x0080 | (flags.rcode & 0x0f), 16)
  for (const count of [1, sections.answers.length, sections.authority.length, sections.additional.length]) {
    writer.write(count, 16)
  }
  writer.append(question)
  writer.addSuffixes(question)
  for (const record of [...sections.answers, ...sections.authority, ...sections.additional]) writeRecord(writer, record)
  return writer.toBuffer()
}

function writeRecord(writer: ByteWriter, record: DnsRecord): void {
  if ('data' in record) return writeOpaque(writer, record)
  if (record.type === types.SRV) return writeServer(writer, record)
  Packet.Resource.encode({ class: classes.IN, ...resource(record) } as Resource, writer)
}

function resource(record: AddressRecord | NameRecord | TextRecord | AuthorityRecord): Partial<Resource> {
  const { name, type, ttl } = record
  switch (record.type) {
    case types.A:
      return { name, type, ttl, address: record.address }
    case types.AAAA:
      // In full, since dns2 misreads the dotted end of an IPv4-mapped address.
      return { name, type, ttl, address: ipaddr.IPv6.parse(record.address).toNormalizedString() }
    case types.NS:
      return { name, type, ttl, ns: record.target }
    case types.CNAME:
    case types.PTR:
      return { name, type, ttl, domain: record.target }
    case types.TXT:
      return { name, type, ttl, data: [...record.texts] }
    case types.SOA: {
      const { primary, admin, serial, minimum } = record
      return { name, type, ttl, primary, admin, serial, refresh: 7200, retry: 1800, expiration: 86_400, minimum }
    }
  }
}

function writeServer(writer: ByteWriter, record: ServerRecord): void {
  const length = writeHead(writer, record)
  writer.write(record.priority, 16)
  writer.write(record.weight, 16)
  writer.write(record.port, 16)
  writer.uncompressed(() => Packet.Name.encode(record.target, writer))
  writer.patch(length, writer.byteLength() - length / 8 - 2, 16)
}

function writeOpaque(writer: ByteWriter, record: OpaqueRecord): void {
  const length = writeHead(writer, record)
  writer.append(record.data)
  writer.patch(length, record.data.length, 16)
}

/** Writes owner, type, class, TTL and a length of 0; returns the position of the length in bits. */
function writeHead(writer: ByteWriter, record: DnsRecord): number {
  Packet.Name.encode(record.name, writer)
  writer.write(record.type, 16)
  writer.write(classes.IN, 16)
  writer.write(record.ttl, 32)
  const length = writer.bitLength()
  writer.write(0, 16)
  return length
}

/** The writer that dns2 expects (positions in bits) over a byte buffer. `names` is the compression table. */
class ByteWriter {
  names = new Map<string, number>()
  /** Part of dns2's type for a writer; never read. */
  readonly buffer: number[] = []
  #bytes = Buffer.allocUnsafe(512)
  #length = 0

  write(value: number, bits: number): void {
    this.#reserve(bits / 8)
    for (let shift = bits - 8; shift >= 0; shift -= 8) this.#bytes[this.#length++] = value >>> shift
  }

  append(bytes: Buffer): void {
    this.#reserve(bytes.length)
    bytes.copy(this.#bytes, this.#length)
    this.#length += bytes.length
  }

  patch(bit: number, value: number, bits: number): void {
    for (let shift = bits - 8, at = bit / 8; shift >= 0; shift -= 8) this.#bytes[at++] = value >>> shift
  }

  bitLength(): number {
    return this.#length * 8
  }

  byteLength(): number {
    return this.#length
  }

  writeBuffer(other: { toBuffer(): Buffer }): void {
    this.append(other.toBuffer())
  }

  toBuffer(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  /** Adds the suffixes of the question to the compression table, up to the first label with a dot or unprintable octet. */
  addSuffixes(question: Buffer): void {
    const starts: number[] = []
    for (let at = 0; question[at] !== 0; at += 1 + (question[at] as number)) starts.push(at)
    let suffix = ''
    for (const start of starts.reverse()) {
      const label = question.toString('latin1', start + 1, start + 1 + (question[start] as number))
      if (!/^[\x21-\x2d\x2f-\x7e]+$/.test(label)) return
      suffix = suffix === '' ? label.toLowerCase() : `${label.toLowerCase()}.${suffix}`
      this.names.set(suffix, headerBytes + start)
    }
  }

  /** Names written by `write` are not compressed; later names may point to them. */
  uncompressed(write: () => void): void {
    const known = this.names
    this.names = new Map()
    write()
    for (const [name, at] of this.names) if (!known.has(name)) known.set(name, at)
    this.names = known
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#length + more))
    this.#bytes.copy(larger, 0, 0, this.#length)
    this.#bytes = larger
  }
}
