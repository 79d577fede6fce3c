/** Prints messages as zone files and `dig` do (RFC 1035 5.1; RFC 3597 5 for types without a text form). */
import ipaddr from 'ipaddr.js'
import { skipName } from './query.ts'
import { nameAt, type Span, spans } from './scan.ts'
import { typeName, types } from './wire.ts'

export interface Printed {
  readonly answers: readonly string[]
  readonly authority: readonly string[]
  readonly additional: readonly string[]
}

/** Leaves out OPT, which is not a record. */
export function print(bytes: Buffer, questionEnd: number): Printed {
  const records = (spans(bytes, questionEnd) ?? []).filter(span => span.type !== types.OPT)
  const of = (section: Span['section']) =>
    records.filter(span => span.section === section).map(span => line(bytes, span))
  return { answers: of('answer'), authority: of('authority'), additional: of('additional') }
}

/** `rebel-base.default.svc.cluster.local. 5 IN A 127.96.0.10` */
function line(bytes: Buffer, span: Span): string {
  const ttl = bytes.readUInt32BE(span.fixed + 4)
  return `${name(bytes, span.start)} ${ttl} IN ${typeName(span.type)} ${data(bytes, span)}`
}

function data(bytes: Buffer, span: Span): string {
  const at = span.data
  switch (span.type) {
    case types.A:
    case types.AAAA:
      return address(bytes.subarray(at, span.end)) ?? opaque(bytes, span)
    case types.CNAME:
    case types.NS:
    case types.PTR:
      return name(bytes, at)
    case types.MX:
      return span.end - at > 2 ? `${bytes.readUInt16BE(at)} ${name(bytes, at + 2)}` : opaque(bytes, span)
    case types.SRV:
      if (span.end - at <= 6) return opaque(bytes, span)
      return `${bytes.readUInt16BE(at)} ${bytes.readUInt16BE(at + 2)} ${bytes.readUInt16BE(at + 4)} ${name(bytes, at + 6)}`
    case types.TXT:
    case types.HINFO:
      return strings(bytes.subarray(at, span.end)) ?? opaque(bytes, span)
    case types.SOA:
      return authority(bytes, span) ?? opaque(bytes, span)
    default:
      return opaque(bytes, span)
  }
}

function name(bytes: Buffer, at: number): string {
  const text = nameAt(bytes, at)
  return text === undefined ? '<malformed name>' : `${text}.`
}

function address(octets: Buffer): string | undefined {
  if (octets.length !== 4 && octets.length !== 16) return undefined
  const parsed = ipaddr.fromByteArray([...octets])
  return parsed instanceof ipaddr.IPv6 ? parsed.toRFC5952String() : parsed.toString()
}

function strings(octets: Buffer): string | undefined {
  const texts: string[] = []
  for (let at = 0; at < octets.length; ) {
    const next = at + 1 + (octets[at] as number)
    if (next > octets.length) return undefined
    texts.push(JSON.stringify(octets.toString('latin1', at + 1, next)))
    at = next
  }
  return texts.join(' ')
}

/** SOA: two names, then five numbers in the last 20 octets. */
function authority(bytes: Buffer, span: Span): string | undefined {
  const numbers = span.end - 20
  if (numbers < span.data + 2) return undefined
  const second = skipName(bytes, span.data)
  if (second === undefined) return undefined
  const fields = [0, 4, 8, 12, 16].map(offset => bytes.readUInt32BE(numbers + offset))
  return `${name(bytes, span.data)} ${name(bytes, second)} ${fields.join(' ')}`
}

function opaque(bytes: Buffer, span: Span): string {
  return `\\# ${span.end - span.data} ${bytes.toString('hex', span.data, span.end)}`.trimEnd()
}
