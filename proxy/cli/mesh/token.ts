/** The token that `starlane mesh init` prints and `starlane mesh join` reads. */
import * as v from 'valibot'
import { isClusterName } from '../../model/cluster.ts'
import { MeshError } from '../../model/error.ts'

const tokenContent = v.object({
  version: v.literal(1),
  cluster: v.pipe(v.string(), v.check(isClusterName)),
  id: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(511)),
  endpoints: v.pipe(v.array(v.pipe(v.string(), v.url())), v.minLength(1)),
  ca: v.string(),
  cert: v.string(),
  key: v.string(),
})

/** All that a peer needs to read a cluster: endpoints, CA, and the client certificate and key. A secret. */
export type Token = v.InferOutput<typeof tokenContent>

const prefix = 'starlane1.'

export function encodeToken(token: Token): string {
  return prefix + Buffer.from(JSON.stringify(token)).toString('base64url')
}

export function decodeToken(text: string): Token {
  try {
    if (!text.startsWith(prefix)) throw new Error('prefix')
    return v.parse(tokenContent, JSON.parse(Buffer.from(text.slice(prefix.length), 'base64url').toString('utf8')))
  } catch (error) {
    const message = 'not a token, or only a part of one; copy it whole from the output of "starlane mesh init"'
    throw new MeshError('USAGE', message, { cause: error })
  }
}
