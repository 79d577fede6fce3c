/** The far end of an alias out of our zones: another resolver's records, taken into a reply of ours. */
import type { Answer } from './answer.ts'
import { skipName } from './query.ts'
import type { DnsRecord, OpaqueRecord } from './record.ts'
import { nameAt, type Span, spans, wireNameAt } from './records.ts'
import type { Resolved } from './resolver.ts'
import { types } from './wire.ts'

/** The answer with what was found under its `elsewhere`; the alias stays in it whatever became of the target. */
export function joined(answer: Answer, target: Resolved): Answer {
  const { bytes, questionEnd, rcode, extended } = target.reply
  const all = (spans(bytes, questionEnd) ?? []).flatMap(span => {
    const record = taken(bytes, span, target.ageSeconds)
    return record ? [{ section: span.section, record }] : []
  })
  const of = (section: Span['section']) => all.filter(entry => entry.section === section).map(entry => entry.record)
  return {
    zone: answer.zone,
    rcode,
    answers: [...answer.answers, ...of('answer')],
    authority: of('authority'),
    additional: [],
    ...(extended && { extended }),
  }
}

/** How many bytes stand before the names in the data of types whose names may be compressed (RFC 3597 4). */
const named: ReadonlyMap<number, { readonly before: number; readonly names: number }> = new Map([
  [types.NS, { before: 0, names: 1 }],
  [types.CNAME, { before: 0, names: 1 }],
  [types.SOA, { before: 0, names: 2 }],
  [types.PTR, { before: 0, names: 1 }],
  [types.MX, { before: 2, names: 1 }],
  [types.SRV, { before: 6, names: 1 }],
])

/** A record in which nothing points into the message it came in. Undefined when it is malformed. */
function taken(bytes: Buffer, span: Span, ageSeconds: number): DnsRecord | undefined {
  const name = nameAt(bytes, span.start)
  // An owner that needs escapes cannot be written again faithfully, and no alias of ours leads to one.
  if (name === undefined || name.includes('\\')) return undefined
  const data = expanded(bytes, span)
  const ttl = Math.max(0, bytes.readUInt32BE(span.fixed + 4) - ageSeconds)
  return data && ({ name, type: span.type, ttl, data } satisfies OpaqueRecord)
}

function expanded(bytes: Buffer, span: Span): Buffer | undefined {
  const layout = named.get(span.type)
  if (!layout) return Buffer.from(bytes.subarray(span.data, span.end))
  const parts = [bytes.subarray(span.data, span.data + layout.before)]
  let at = span.data + layout.before
  for (let i = 0; i < layout.names; i++) {
    const name = wireNameAt(bytes, at)
    const end = skipName(bytes, at)
    if (!name || end === undefined || end > span.end) return undefined
    parts.push(name)
    at = end
  }
  return Buffer.concat([...parts, bytes.subarray(at, span.end)])
}
