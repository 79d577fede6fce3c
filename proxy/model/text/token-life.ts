/** The claims of a token of the TokenRequest API: how long it is valid, and for whom. */

export interface TokenLife {
  /** Milliseconds since 1970. */
  readonly issued: number
  readonly ends: number
  /** The ServiceAccount that it is bound to, if it is one's. */
  readonly account?: { readonly namespace: string; readonly name: string; readonly uid: string }
}

/** Undefined for a token of another kind. The signature is not looked at: that is the server's business. */
export function lifeOf(token: string): TokenLife | undefined {
  try {
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'))
    if (typeof claims.iat !== 'number' || typeof claims.exp !== 'number') return undefined
    const { namespace, serviceaccount: { name, uid } = {} as Record<string, unknown> } = claims['kubernetes.io'] ?? {}
    const isBound = [namespace, name, uid].every(each => typeof each === 'string')
    return { issued: claims.iat * 1000, ends: claims.exp * 1000, ...(isBound && { account: { namespace, name, uid } }) }
  } catch {
    return undefined
  }
}

/** The first half of its life is over. */
export function isHalfOver({ issued, ends }: TokenLife, now: number): boolean {
  return now > (issued + ends) / 2
}
