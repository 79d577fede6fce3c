/** A question that we send to an upstream, and the check that a message is its reply (RFC 5452 9.1). */
import { folded, type Query } from './query.ts'
import { questionEnd } from './scan.ts'
import { ednsUdpBytes, headerBytes, types } from './wire.ts'

export interface Question {
  /** Name, type and class, lower case. */
  readonly wire: Buffer
  readonly type: number
  /** DO: wants DNSSEC records. */
  readonly dnssec: boolean
  /** CD: also wants records that failed validation. */
  readonly unchecked: boolean
  /** Equal for questions with the same answer. */
  readonly key: string
}

export function questionOf(query: Query): Question {
  return question(query.bytes.subarray(headerBytes, query.end), query.type, query.dnssec, isUnchecked(query))
}

export function question(asked: Buffer, type: number, dnssec = false, unchecked = false): Question {
  const nameEnd = asked.length - 4
  const wire = Buffer.from(asked.map((octet, at) => (at < nameEnd ? folded(octet) : octet)))
  return { wire, type, dnssec, unchecked, key: `${Number(dnssec)}${Number(unchecked)}${wire.toString('latin1')}` }
}

export function isUnchecked(query: Query): boolean {
  return ((query.bytes[3] as number) & 0x10) !== 0
}

/** The question for a name in text form: labels of printable characters between dots. */
export function questionFor(name: string, type: number): Question {
  const labels = name === '' ? [] : name.split('.')
  const wire = Buffer.concat([
    ...labels.map(label => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, 'latin1')])),
    Buffer.from([0, type >> 8, type & 0xff, 0, 1]),
  ])
  return question(wire, type)
}

/** The message to an upstream: RD set, and our own EDNS, since OPT is hop by hop (RFC 6891 6.2.6). */
export function queryMessage(asked: Question, id: number, edns: boolean): Buffer {
  const { wire } = asked
  const message = Buffer.alloc(headerBytes + wire.length + (edns ? 11 : 0))
  message.writeUInt16BE(id, 0)
  message[2] = 0x01
  message[3] = asked.unchecked ? 0x10 : 0
  message[5] = 1
  wire.copy(message, headerBytes)
  if (!edns) return message
  const opt = headerBytes + wire.length
  message[11] = 1
  message.writeUInt16BE(types.OPT, opt + 1)
  message.writeUInt16BE(ednsUdpBytes, opt + 3)
  message[opt + 7] = asked.dnssec ? 0x80 : 0
  return message
}

/** Same id, QR set, same question ignoring case. An error header without a question passes as well. */
export function isReplyTo(message: Buffer, reply: Buffer): boolean {
  if (reply.length < headerBytes || reply.readUInt16BE(0) !== message.readUInt16BE(0)) return false
  if (((reply[2] as number) & 0xf8) !== 0x80) return false
  const end = questionEnd(reply)
  if (end === undefined) return reply.readUInt16BE(4) === 0 && ((reply[3] as number) & 0x0f) !== 0
  for (let at = headerBytes; at < end; at++) {
    if (folded(reply[at] as number) !== folded(message[at] as number)) return false
  }
  return true
}
