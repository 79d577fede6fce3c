/** Label selectors of Kubernetes and of Cilium, over one set of label names: those of Cilium's identities. */
import type { Identity } from '../../proxy/plugin.ts'
import type { Notes, Path } from './read/notes.ts'

/** Cilium's names for what is not a label of the Pod itself. */
export const names = {
  namespace: 'io.kubernetes.pod.namespace',
  cluster: 'io.cilium.k8s.policy.cluster',
  account: 'io.cilium.k8s.policy.serviceaccount',
  /** Followed by a label of the namespace. */
  ofNamespace: 'io.cilium.k8s.namespace.labels.',
} as const

export interface Requirement {
  /** Begins with `reserved:` for what is not a Pod. */
  readonly key: string
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist'
  readonly values: readonly string[]
}

/** All must hold; an empty list selects everything. */
export type Selector = readonly Requirement[]

/** The value of a label; undefined where there is none. A label of a Pod cannot stand for its namespace or cluster. */
export type LabelOf = (key: string) => string | undefined

export function labelsOf(identity: Identity): LabelOf {
  const { labels, namespaceLabels, namespace, cluster, account } = identity
  return key => {
    if (key === names.cluster) return cluster
    // A client of another cluster that this cluster does not name has neither.
    if (key === names.namespace) return namespace === '' ? undefined : namespace
    if (key === names.account) return account === '' ? undefined : account
    const table = key.startsWith(names.ofNamespace) ? namespaceLabels : labels
    const name = table === labels ? key : key.slice(names.ofNamespace.length)
    return Object.hasOwn(table, name) ? table[name] : undefined
  }
}

/** As in Kubernetes, NotIn holds where there is no such label. */
export function selects(selector: Selector, labelOf: LabelOf): boolean {
  return selector.every(({ key, operator, values }) => {
    const value = labelOf(key)
    if (operator === 'Exists') return value !== undefined
    if (operator === 'DoesNotExist') return value === undefined
    return (value !== undefined && values.includes(value)) === (operator === 'In')
  })
}

export function hasKey(selector: Selector, test: (key: string) => boolean): boolean {
  return selector.some(({ key }) => test(key))
}

/** `k8s:app`, `any:app` and `app` are the same here, since all labels are those of Kubernetes. */
export function plainKey(key: string): string | undefined {
  const at = key.indexOf(':')
  const origin = at === -1 ? '' : key.slice(0, at)
  if (origin === 'reserved') return key
  return origin === '' || origin === 'k8s' || origin === 'any' ? key.slice(at + 1) : undefined
}

const operators = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const

/**
 * Reads a LabelSelector. `name` translates a key; it returns undefined for a key that no identity has here. The result is
 * undefined if the selector cannot be used, which is noted.
 */
export function readSelector(
  value: unknown,
  path: Path,
  notes: Notes,
  name: (key: string) => string | undefined = key => key,
): Selector | undefined {
  const fields = notes.fields(value, path, ['matchLabels', 'matchExpressions'])
  const labels = fields && notes.mapping(fields.matchLabels ?? {}, [...path, 'matchLabels'])
  const expressions = fields && notes.list(fields.matchExpressions, [...path, 'matchExpressions'])
  if (!labels || !expressions) return undefined
  const found: (Requirement | undefined)[] = Object.entries(labels).map(([key, text]) =>
    requirement(key, 'In', [text ?? ''], [...path, 'matchLabels', key]),
  )
  for (const [i, each] of expressions.entries()) {
    const at = [...path, 'matchExpressions', i]
    const { key, operator, values = [] } = notes.fields(each, at, ['key', 'operator', 'values']) ?? {}
    found.push(requirement(key, operator, values ?? [], at))
  }
  return found.every(each => each !== undefined) ? found : undefined

  function requirement(key: unknown, operator: unknown, values: unknown, at: Path): Requirement | undefined {
    const known = operators.find(each => each === operator)
    const listed = Array.isArray(values) && values.every(each => typeof each === 'string')
    const needsValues = known === 'In' || known === 'NotIn'
    if (typeof key !== 'string' || !known || !listed || needsValues !== values.length > 0) {
      notes.fault(
        at,
        'is not a requirement on a label: give key, operator (In, NotIn, Exists, DoesNotExist) and values',
      )
      return undefined
    }
    const translated = name(key)
    if (translated !== undefined) return { key: translated, operator: known, values }
    notes.undecided(at, `no label ${key} is known here`)
    return undefined
  }
}
