/** The token that `starlane mesh init` prints and `starlane mesh join` reads. */
import * as v from 'valibot'
import { isClusterName } from '../../model/cluster.ts'
import { MeshError } from '../../model/error.ts'

const tokenContent = v.object({
  version: v.literal(2),
  cluster: v.pipe(v.string(), v.check(isClusterName)),
  id: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(511)),
  endpoints: v.pipe(v.array(v.pipe(v.string(), v.url())), v.minLength(1)),
  ca: v.string(),
  cert: v.string(),
})

/** What a peer needs to read a cluster, besides its own key: endpoints, CA and client certificate. No secret. */
export type Token = v.InferOutput<typeof tokenContent>

const prefix = 'starlane-etcd.'

export function encodeToken(token: Token): string {
  return prefix + Buffer.from(JSON.stringify(token)).toString('base64url')
}

export function decodeToken(text: string): Token {
  if (text.startsWith('starlane1.'))
    throw new MeshError(
      'USAGE',
      'this token is of an older release and holds a private key; make a new one with "starlane mesh init --request"',
    )
  try {
    if (!text.startsWith(prefix)) throw new Error('prefix')
    return v.parse(tokenContent, JSON.parse(Buffer.from(text.slice(prefix.length), 'base64url').toString('utf8')))
  } catch (error) {
    const message = 'not a token, or only a part of one; copy it whole from the output of "starlane mesh init"'
    throw new MeshError('USAGE', message, { cause: error })
  }
}
