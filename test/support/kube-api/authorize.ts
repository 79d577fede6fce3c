import { ApiFault } from './fault.ts'

/** A rule of a role, as RBAC has it. */
export interface Rule {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}

export interface User {
  readonly name: string
  /** Whoever has none may do everything. */
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

/** In the words of kube-apiserver. */
export function forbidden({ name }: User, { verb, group, resource, namespace }: Attempt): ApiFault {
  const where = namespace === undefined ? 'at the cluster scope' : `in the namespace "${namespace}"`
  const what = `cannot ${verb} resource "${resource}" in API group "${group}" ${where}`
  return new ApiFault(403, 'Forbidden', `${resource} is forbidden: User "${name}" ${what}`)
}
