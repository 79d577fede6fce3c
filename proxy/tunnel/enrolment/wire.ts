/** Enrolment over HTTP/2: a request is a POST of JSON to a gateway, and so is the answer. */
import * as v from 'valibot'
import { tame } from '../../model/text/spelling.ts'
import type { ServerStream } from '../server/door.ts'
import type { Refused, Signed } from './issuer.ts'

/** With a token, on a connection without a certificate. */
export const enrolPath = '/.well-known/starlane/enrol'
/** On a connection with one. */
export const renewPath = '/.well-known/starlane/renew'

/** Of a request and of an answer. */
export const maxBytes = 64 << 10

export const enrolRequest = v.object({ id: v.string(), secret: v.string(), csr: v.string() })
export const renewRequest = v.object({ csr: v.string() })
export const signedAnswer = v.object({ certificate: v.string(), root: v.string(), id: v.string() })
export const refusedAnswer = v.object({ why: v.string() })

/** Reads the body of a request, asks `decide`, and answers. Never rejects. */
export async function serveRequest<Schema extends v.GenericSchema>(
  stream: ServerStream,
  schema: Schema,
  decide: (request: v.InferOutput<Schema>) => Promise<Signed | Refused>,
): Promise<Signed | Refused> {
  let answer: Signed | Refused
  let status = 403
  try {
    const request = v.parse(schema, JSON.parse(await bodyOf(stream.bytes().iterator({ destroyOnReturn: false }))))
    answer = await decide(request)
    if (!('why' in answer)) status = 200
  } catch (error) {
    status = 400
    // It may quote the request, which anybody has sent.
    answer = { why: `the request cannot be read: ${tame(error instanceof Error ? error.message : String(error))}` }
  }
  if (!stream.isOver) {
    stream.respond({ ':status': String(status), 'content-type': 'application/json' })
    stream.bytes().end(JSON.stringify(answer))
  }
  return answer
}

/** The whole body as text; rejects with an error if it is too long or breaks off. */
export async function bodyOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of stream) {
    length += chunk.length
    if (length > maxBytes) throw new Error(`it is longer than ${maxBytes >> 10} KiB`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
