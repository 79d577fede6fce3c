/** The far end of an alias out of our zones: another resolver's records, taken into a reply of ours. */

import type { Resolved } from './forward/resolver.ts'
import type { DnsRecord, OpaqueRecord } from './message/record.ts'
import { expanded, nameAt, type Span, spans } from './message/scan.ts'
import type { Answer } from './zones/answer.ts'

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

/** A record in which nothing points into the message it came in. Undefined when it is malformed. */
function taken(bytes: Buffer, span: Span, ageSeconds: number): DnsRecord | undefined {
  const name = nameAt(bytes, span.start)
  // An owner that needs escapes cannot be written again faithfully, and no alias of ours leads to one.
  if (name === undefined || name.includes('\\')) return undefined
  const data = expanded(bytes, span)
  const ttl = Math.max(0, bytes.readUInt32BE(span.fixed + 4) - ageSeconds)
  return data && ({ name, type: span.type, ttl, data } satisfies OpaqueRecord)
}
