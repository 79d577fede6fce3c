/** Tokens of ServiceAccounts: issued by TokenRequest, bound to the account, with the rights that RBAC objects give it. */
import { createHmac, randomUUID } from 'node:crypto'
import type { Rule, User } from './authorize.ts'
import type { Target } from './http/request.ts'
import { StatusError } from './http/status-error.ts'
import type { KubeObject } from './types.ts'

/** The objects of a server. */
interface Objects {
  get(kind: string, name: string, namespace?: string): KubeObject | undefined
  list(kind: string): KubeObject[]
}

const secret = 'the signing key of the test servers'

/** The answer to a TokenRequest: a JWT with the claims of kube-apiserver. */
export function issueToken(api: Objects, { namespace = 'default', name = '' }: Target, body: unknown): unknown {
  const account = api.get('ServiceAccount', name, namespace)
  if (!account) throw new StatusError(404, 'NotFound', `serviceaccounts "${name}" not found`)
  const seconds = Number((body as KubeObject).spec?.expirationSeconds ?? 3600)
  if (seconds < 600)
    throw new StatusError(422, 'Invalid', 'spec.expirationSeconds: may not specify less than 10 minutes')
  const iat = Math.floor(Date.now() / 1000)
  const claims = {
    // No two tokens are the same, as with kube-apiserver.
    ...{ iat, exp: iat + seconds, iss: 'test', jti: randomUUID(), sub: `system:serviceaccount:${namespace}:${name}` },
    'kubernetes.io': { namespace, serviceaccount: { name, uid: account.metadata.uid } },
  }
  const content = `${encode({ alg: 'HS256' })}.${encode(claims)}`
  const status = {
    token: `${content}.${signatureOf(content)}`,
    expirationTimestamp: new Date(claims.exp * 1000).toISOString(),
  }
  return { ...(body as object), status }
}

/** Undefined for a token that this server did not issue, that has expired, or whose account is gone or another one. */
export function tokenUser(api: Objects, token: string): User | undefined {
  const [head = '', payload = '', signature] = token.split('.')
  if (signature !== signatureOf(`${head}.${payload}`)) return undefined
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'))
  const { namespace, serviceaccount } = claims['kubernetes.io']
  const account = api.get('ServiceAccount', serviceaccount.name, namespace)
  if (account?.metadata.uid !== serviceaccount.uid || claims.exp * 1000 < Date.now()) return undefined
  return { name: claims.sub, rules: rulesOf(api, namespace, serviceaccount.name) }
}

/** Of the roles bound to the account. Namespaces of roles are not looked at. */
function rulesOf(api: Objects, namespace: string, name: string): Rule[] {
  const bindings = [...api.list('ClusterRoleBinding'), ...api.list('RoleBinding')]
  const isOwn = (subject: KubeObject) => subject.name === name && subject.namespace === namespace
  return bindings
    .filter(({ subjects = [] }) => subjects.some(isOwn))
    .flatMap(({ roleRef, metadata }) => api.get(roleRef.kind, roleRef.name, metadata.namespace)?.rules ?? [])
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function signatureOf(content: string): string {
  return createHmac('sha256', secret).update(content).digest('base64url')
}
