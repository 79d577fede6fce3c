/** Reads CiliumNetworkPolicies and CiliumClusterwideNetworkPolicies (cilium.io/v2), as Cilium 1.19 and 1.20 translate them. */
import type { PolicyObject } from '../../../proxy/plugin.ts'
import type { Direction, Draft, Policy, ReadOptions } from '../rule.ts'
import { names, plainKey, readSelector, type Selector } from '../selector.ts'
import { readPeers } from './cilium-peers.ts'
import { readToPorts } from './cilium-ports.ts'
import { isThere, textOf, unknownField } from './network-policy.ts'
import type { Notes, Path } from './notes.ts'

/** One policy for each spec that can be used. */
export function readCiliumPolicy(object: PolicyObject, notes: Notes, options: ReadOptions, audit: boolean): Policy[] {
  const listed = notes.list(object.specs, ['specs']) ?? []
  const specs: [spec: unknown, path: Path][] = listed.map((spec, i) => [spec, ['specs', i]])
  if (isThere(object.spec)) specs.unshift([object.spec, ['spec']])
  if (specs.length === 0) notes.fault(['spec'], 'is missing')
  return specs.flatMap(([spec, path]) => readSpec(spec, path, object, notes, options, audit) ?? [])
}

const specFields = [
  ...['endpointSelector', 'nodeSelector', 'ingress', 'ingressDeny', 'egress', 'egressDeny'],
  ...['enableDefaultDeny', 'labels', 'description', 'log'],
]

const directions = ['ingress', 'egress'] as const
const sectionNames = ['ingress', 'ingressDeny', 'egress', 'egressDeny'] as const

function readSpec(
  value: unknown,
  path: Path,
  object: PolicyObject,
  notes: Notes,
  options: ReadOptions,
  audit: boolean,
): Policy | undefined {
  const before = notes.ignored
  const spec = notes.fields(value, path, specFields)
  if (!spec) return undefined
  if (isThere(spec.nodeSelector)) {
    notes.undecided(
      [...path, 'nodeSelector'],
      'is about nodes, whose flows are not decided here; this spec is left out',
    )
    return undefined
  }
  const subject = readSubject(spec.endpointSelector, [...path, 'endpointSelector'], object, notes)
  if (!subject) return undefined
  const { namespace, name } = object
  // A section that is no list counts as one rule that cannot be read.
  const sectionOf = (field: string) => notes.list(spec[field], [...path, field]) ?? [undefined]
  const sections = new Map(sectionNames.map(field => [field, sectionOf(field)]))
  const rules = (field: (typeof sectionNames)[number]) => sections.get(field) ?? []
  const defaultsAt = [...path, 'enableDefaultDeny']
  const defaults = notes.fields(spec.enableDefaultDeny ?? {}, defaultsAt, directions)
  const isolates = (direction: Direction) => {
    const given = defaults?.[direction]
    if (isThere(given) && typeof given !== 'boolean')
      notes.fault([...defaultsAt, direction], 'is neither true nor false, and is ignored')
    // A section with any rule, of either effect, puts its subjects into default deny, unless the policy says otherwise.
    return typeof given === 'boolean' ? given : rules(direction).length + rules(`${direction}Deny`).length > 0
  }
  const policy: Draft = {
    object,
    text: `${textOf(object)}${path.length > 1 ? ` specs[${path.at(-1)}]` : ''}`,
    name: namespace === '' ? name : `${namespace}/${name}`,
    subject,
    isolates: { ingress: isolates('ingress'), egress: isolates('egress') },
    rules: [],
    audit,
  }
  const isStrange = notes.ignored > before
  for (const direction of directions) {
    for (const effect of ['deny', 'allow'] as const) {
      const field = effect === 'deny' ? (`${direction}Deny` as const) : direction
      for (const [i, rule] of rules(field).entries())
        readRule(rule, [...path, field, i], { direction, effect, isStrange }, policy, notes, options)
    }
  }
  return policy
}

/** A policy with a namespace is about Pods of this namespace alone, whatever its selector says. */
function readSubject(value: unknown, path: Path, { namespace }: PolicyObject, notes: Notes): Selector | undefined {
  if (!isThere(value)) {
    notes.fault(path, 'is missing; the policy is about no Pod')
    return undefined
  }
  const selector = readSelector(value, path, notes, plainKey)
  if (!selector || namespace === '') return selector
  return [
    ...selector.filter(({ key }) => key !== names.namespace),
    { key: names.namespace, operator: 'In', values: [namespace] },
  ]
}

function readRule(
  value: unknown,
  path: Path,
  { direction, effect, isStrange }: { direction: Direction; effect: 'allow' | 'deny'; isStrange: boolean },
  policy: Draft,
  notes: Notes,
  options: ReadOptions,
): void {
  const text = `${path.at(-2)}[${path.at(-1)}]`
  // One that is no mapping allows nobody, and denies everybody.
  const rule = value === undefined ? undefined : notes.mapping(value, path)
  if (!rule && effect === 'deny') {
    const why = 'it cannot be read'
    policy.rules.push({ policy, direction, text, effect, peers: [{ is: 'anyone' }], ports: undefined, undecided: why })
  }
  if (!rule) return
  const before = notes.ignored
  const { peers, fields, requirement } = readPeers(rule, path, direction, policy.object, notes, options)
  const known = new Set([...fields, 'toPorts', 'icmps', ...(effect === 'allow' ? ['authentication'] : [])])
  const strange = Object.keys(rule).filter(key => !known.has(key))
  for (const key of strange) notes.unknown([...path, key])
  const { ports, undecided } = readToPorts(rule.toPorts, [...path, 'toPorts'], effect, notes)
  const conditions = [undecided, authenticationOf(rule, path, notes), ...strange.map(key => `${key} is not known here`)]
  if (isStrange || notes.ignored > before) conditions.push(unknownField)
  const made = { policy, direction, text, undecided: conditions.find(each => each !== undefined) }
  if (requirement)
    policy.rules.push({ ...made, effect: 'deny', peers: [requirement], ports: undefined, undecided: undefined })
  if (isThere(rule.icmps)) {
    notes.undecided(
      [...path, 'icmps'],
      'is about ICMP, which is not carried here; the rule has no effect on TCP and UDP',
    )
    return
  }
  // A rule that names neither peers nor ports allows nobody: it only puts its subjects into default deny.
  if (peers === undefined && ports === undefined) return
  policy.rules.push({ ...made, effect, peers: peers ?? [{ is: 'anyone' }], ports })
}

function authenticationOf(rule: Readonly<Record<string, unknown>>, path: Path, notes: Notes): string | undefined {
  if (!isThere(rule.authentication)) return undefined
  const at = [...path, 'authentication']
  const mode = notes.fields(rule.authentication, at, ['mode'])?.mode
  if (mode === 'disabled') return undefined
  notes.undecided(at, 'asks for mutual authentication of Pods, which is not made here')
  return 'it asks for mutual authentication'
}
