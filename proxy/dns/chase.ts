/** Follows an alias out of our zones: resolves its target and adds the records found to the answer. */
import type { Resolved, Resolver } from './forward/resolver.ts'
import { type Query, readQuery } from './message/query.ts'
import { flagsOf, queryMessage, questionFor } from './message/question.ts'
import type { DnsRecord, OpaqueRecord } from './message/record.ts'
import { decompressedData, nameAt, type Span, spans } from './message/scan.ts'
import type { DnsRequest } from './request.ts'
import type { Answer } from './zones/answer.ts'

/** The answer with the records of its target. Undefined when no upstream is configured for the target, or it is no valid name. */
export async function chase(
  { query, client }: DnsRequest,
  answer: Answer,
  target: string,
  resolver: Resolver,
): Promise<Answer | undefined> {
  const asked = targetQuery(target, query)
  const resolved = asked && (resolver.cachedAnswer(asked) ?? (await resolver.resolve(asked, client)))
  return resolved && joinTarget(answer, resolved)
}

/** The question for the target, as if the client had sent it. */
function targetQuery(name: string, query: Query): Query | undefined {
  const asked = readQuery(queryMessage(questionFor(name, query.type, flagsOf(query)), 0, query.edns))
  return asked && !('rcode' in asked) ? asked : undefined
}

/** Adds the target's records to the answer and takes over its rcode; the alias stays even when the target does not exist. */
export function joinTarget(answer: Answer, target: Resolved): Answer {
  const { bytes, questionEnd, rcode, extended } = target.reply
  const all = (spans(bytes, questionEnd) ?? []).flatMap(span => {
    const record = copied(bytes, span, target.ageSeconds)
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

/** The record with its names decompressed, so that it can go into another message. Undefined when it is malformed. */
function copied(bytes: Buffer, span: Span, ageSeconds: number): DnsRecord | undefined {
  const name = nameAt(bytes, span.start)
  // An owner with escapes cannot be encoded again, and no alias of ours leads to one.
  if (name === undefined || name.includes('\\')) return undefined
  const data = decompressedData(bytes, span)
  const ttl = Math.max(0, bytes.readUInt32BE(span.fixed + 4) - ageSeconds)
  return data && ({ name, type: span.type, ttl, data } satisfies OpaqueRecord)
}
