/**
 * Records to wire by dns2's codec, with what must be ours around it: a writer of bytes (its own writes single bits), SRV
 * targets in full (RFC 2782 forbids to compress them, dns2 does), and the question echoed octet for octet.
 *
 * The question's own labels are the first that names are compressed against, so that owner names keep the case in which
 * the client asked (RFC 4343), and so that one encoded reply serves every spelling of a question.
 */
import dns2 from 'dns2'
import ipaddr from 'ipaddr.js'
import type {
  AddressRecord,
  AuthorityRecord,
  DnsRecord,
  NameRecord,
  OpaqueRecord,
  ServerRecord,
  TextRecord,
} from './record.ts'
import { classes, headerBytes, types } from './wire.ts'

const { Packet } = dns2
type Resource = Parameters<typeof Packet.Resource.encode>[0]

export interface Sections {
  readonly answers: readonly DnsRecord[]
  readonly authority: readonly DnsRecord[]
  readonly additional: readonly DnsRecord[]
}

/** The two bytes of flags: `QR AA TC RD` of the first and `RA` of the second; id, RD and CD are put in per query. */
export interface Flags {
  readonly authoritative: boolean
  readonly rcode: number
}

/** `question` is the wire form of name, type and class. The result has id 0 and no OPT. */
export function encode(question: Buffer, flags: Flags, sections: Sections): Buffer {
  const writer = new ByteWriter()
  writer.write(0, 16)
  // RA: we do recurse for the client, and some resolvers skip a server that says it does not.
  writer.write(0x8000 | (flags.authoritative ? 0x0400 : 0) | 0x0080 | (flags.rcode & 0x0f), 16)
  for (const count of [1, sections.answers.length, sections.authority.length, sections.additional.length]) {
    writer.write(count, 16)
  }
  writer.append(question)
  writer.learn(question)
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
      // Written out, since dns2 misreads the dotted tail of an IPv4-mapped address.
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
  writer.literally(() => Packet.Name.encode(record.target, writer))
  writer.patch(length, writer.byteLength() - length / 8 - 2, 16)
}

function writeOpaque(writer: ByteWriter, record: OpaqueRecord): void {
  const length = writeHead(writer, record)
  writer.append(record.data)
  writer.patch(length, record.data.length, 16)
}

/** Owner, type, class, TTL and room for the length, whose position in bits it returns. */
function writeHead(writer: ByteWriter, record: DnsRecord): number {
  Packet.Name.encode(record.name, writer)
  writer.write(record.type, 16)
  writer.write(classes.IN, 16)
  writer.write(record.ttl, 32)
  const length = writer.bitLength()
  writer.write(0, 16)
  return length
}

/** What dns2 asks of a writer (positions in bits), kept in bytes. `names` is its table for compression. */
class ByteWriter {
  names = new Map<string, number>()
  /** Never read: part of dns2's type for a writer. */
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

  /** Offers the suffixes of the question for compression, up to the first label that text cannot hold safely. */
  learn(question: Buffer): void {
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

  /** Names written inside are written in full; others may still point to them. */
  literally(write: () => void): void {
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
