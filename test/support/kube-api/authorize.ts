/** RBAC rules of test users, and the answer to what they forbid. */
import { StatusError } from './http/status-error.ts'
import type { KubeObject } from './types.ts'

/** A rule of an RBAC role. */
export interface Rule {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}

export interface User {
  readonly name: string
  /** Without rules everything is allowed. */
  readonly rules?: readonly Rule[]
}

export interface Attempt {
  readonly verb: string
  readonly group: string
  /** With its subresource: `deployments/scale`. */
  readonly resource: string
  readonly namespace: string | undefined
}

export function allows({ rules }: User, { verb, group, resource }: Attempt): boolean {
  if (!rules) return true
  const has = (list: readonly string[], value: string) => list.includes('*') || list.includes(value)
  return rules.some(rule => has(rule.apiGroups, group) && has(rule.resources, resource) && has(rule.verbs, verb))
}

/** The error with the message of kube-apiserver. */
export function forbidden({ name }: User, { verb, group, resource, namespace }: Attempt): StatusError {
  const where = namespace === undefined ? 'at the cluster scope' : `in the namespace "${namespace}"`
  const what = `cannot ${verb} resource "${resource}" in API group "${group}" ${where}`
  return new StatusError(403, 'Forbidden', `${resource} is forbidden: User "${name}" ${what}`)
}

export const reviewsPath = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'

/** The answer to a SelfSubjectAccessReview. */
export function review(user: User, asked: KubeObject): KubeObject {
  const { verb, group, resource, subresource, namespace } = asked.spec.resourceAttributes
  const whole = subresource === undefined ? resource : `${resource}/${subresource}`
  return { ...asked, status: { allowed: allows(user, { verb, group, resource: whole, namespace }) } }
}
