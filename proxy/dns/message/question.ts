/** A question that we send to an upstream, and the check that a message is its reply (RFC 5452 9.1). */
import { randomBytes } from 'node:crypto'
import { folded, type Query } from './query.ts'
import { questionEnd } from './scan.ts'
import { ednsUdpBytes, headerBytes, types } from './wire.ts'

/** The flags of a client's query that an upstream must see, since its answer depends on them. */
export interface QuestionFlags {
  /** DO: wants DNSSEC records. */
  readonly dnssec: boolean
  /** CD: also wants records that failed validation. */
  readonly unchecked: boolean
  /** AD: wants to know whether the answer was validated (RFC 6840 5.7). */
  readonly authentic: boolean
}

export interface Question extends QuestionFlags {
  /** Name, type and class, lower case. */
  readonly wire: Buffer
  readonly type: number
  /** Equal for questions with the same answer. */
  readonly key: string
}

const noFlags: QuestionFlags = { dnssec: false, unchecked: false, authentic: false }

export function questionOf(query: Query): Question {
  return question(query.bytes.subarray(headerBytes, query.end), query.type, flagsOf(query))
}

function question(asked: Buffer, type: number, flags: QuestionFlags): Question {
  const nameEnd = asked.length - 4
  const wire = Buffer.from(asked.map((octet, at) => (at < nameEnd ? folded(octet) : octet)))
  return { wire, type, ...flags, key: `${variantOf(flags)}${wire.toString('latin1')}` }
}

export function flagsOf(query: Query): QuestionFlags {
  const flags = query.bytes[3] as number
  return { dnssec: query.dnssec, unchecked: (flags & 0x10) !== 0, authentic: (flags & 0x20) !== 0 }
}

/** A number from 0 to 7 for each combination of flags. */
export function variantOf({ dnssec, unchecked, authentic }: QuestionFlags): number {
  return Number(dnssec) + 2 * Number(unchecked) + 4 * Number(authentic)
}

/** The question for a name in text form: labels of printable characters between dots. */
export function questionFor(name: string, type: number, flags = noFlags): Question {
  const labels = name === '' ? [] : name.split('.')
  const wire = Buffer.concat([
    ...labels.map(label => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, 'latin1')])),
    Buffer.from([0, type >> 8, type & 0xff, 0, 1]),
  ])
  return question(wire, type, flags)
}

/**
 * The message to an upstream: RD set, and our own EDNS, since OPT is hop by hop (RFC 6891 6.2.6). With `mixCase` each letter
 * of the name is upper or lower case at random (0x20), which a forger has to guess too.
 */
export function queryMessage(asked: Question, id: number, edns: boolean, mixCase = false): Buffer {
  const { wire } = asked
  const message = Buffer.alloc(headerBytes + wire.length + (edns ? 11 : 0))
  message.writeUInt16BE(id, 0)
  message[2] = 0x01
  message[3] = (asked.unchecked ? 0x10 : 0) | (asked.authentic ? 0x20 : 0)
  message[5] = 1
  wire.copy(message, headerBytes)
  if (mixCase) mixLetters(message, headerBytes, headerBytes + wire.length - 4)
  if (!edns) return message
  const opt = headerBytes + wire.length
  message[11] = 1
  message.writeUInt16BE(types.OPT, opt + 1)
  message.writeUInt16BE(ednsUdpBytes, opt + 3)
  message[opt + 7] = asked.dnssec ? 0x80 : 0
  return message
}

function mixLetters(message: Buffer, start: number, end: number): void {
  const random = randomBytes(((end - start) >> 3) + 1)
  for (let at = start; at < end; at++) {
    const octet = message[at] as number
    const i = at - start
    // Length octets are below 64 and so no letters.
    if (octet >= 97 && octet <= 122 && ((random[i >> 3] as number) >> (i & 7)) & 1) message[at] = octet & 0xdf
  }
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

/** Whether a reply has the question in the case in which it was asked; true also for one without a question. */
export function keepsCase(message: Buffer, reply: Buffer): boolean {
  const end = questionEnd(reply) ?? headerBytes
  return reply.compare(message, headerBytes, end, headerBytes, end) === 0
}
