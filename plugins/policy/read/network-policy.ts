/** Reads NetworkPolicies of networking.k8s.io/v1. */
import { type PolicyObject, type Protocol, policyText } from '../../../proxy/plugin.ts'
import { everyPort, type PortMatch } from '../ports.ts'
import { parseRange } from '../range.ts'
import type { Direction, Draft, Peer, Policy, ReadOptions } from '../rule.ts'
import { hasKey, names, readSelector, type Selector } from '../selector.ts'
import type { Notes, Path } from './notes.ts'

/** Undefined if it cannot be used, which is noted. */
export function readNetworkPolicy(
  object: PolicyObject,
  notes: Notes,
  options: ReadOptions,
  audit: boolean,
): Policy | undefined {
  const spec = notes.fields(object.spec ?? {}, ['spec'], ['podSelector', 'ingress', 'egress', 'policyTypes'])
  const podSelector = spec && readSelector(spec.podSelector ?? {}, ['spec', 'podSelector'], notes)
  if (!spec || !podSelector) return undefined
  const { namespace, name } = object
  const policy: Draft = {
    object,
    text: textOf(object),
    name: `${namespace}/${name}`,
    subject: [...podSelector, { key: names.namespace, operator: 'In', values: [namespace] }],
    isolates: typesOf(spec, notes),
    rules: [],
    audit,
  }
  const strange = notes.ignored > 0
  for (const direction of ['ingress', 'egress'] as const) {
    // Rules of a direction that is not among its types mean nothing.
    if (!policy.isolates[direction]) continue
    const path = ['spec', direction]
    for (const [i, rule] of (notes.list(spec[direction], path) ?? []).entries())
      readRule(rule, [...path, i], direction, policy, notes, options, strange)
  }
  return policy
}

/** Why a rule is not decided of which a part at any depth is not known. */
export const unknownField = 'it has a field that is not known here'

export function textOf(object: PolicyObject): string {
  const text = policyText(object)
  return object.origin === undefined || object.origin === 'etcd' ? text : `${text} (${object.origin})`
}

/** By default Ingress, and Egress where there is an egress rule (SetDefaults_NetworkPolicy). */
function typesOf(spec: { policyTypes?: unknown; egress?: unknown }, notes: Notes): Policy['isolates'] {
  const types = notes.list(spec.policyTypes, ['spec', 'policyTypes']) ?? []
  for (const [i, type] of types.entries()) {
    if (type !== 'Ingress' && type !== 'Egress')
      notes.fault(['spec', 'policyTypes', i], 'is neither Ingress nor Egress, and is ignored')
  }
  if (types.length > 0) return { ingress: types.includes('Ingress'), egress: types.includes('Egress') }
  return { ingress: true, egress: Array.isArray(spec.egress) && spec.egress.length > 0 }
}

function readRule(
  value: unknown,
  path: Path,
  direction: Direction,
  policy: Draft,
  notes: Notes,
  options: ReadOptions,
  isPolicyStrange: boolean,
): void {
  const side = direction === 'ingress' ? 'from' : 'to'
  const before = notes.ignored
  const rule = notes.fields(value, path, [side, 'ports'])
  const peers = rule && notes.list(rule[side], [...path, side])
  const ports = rule && notes.list(rule.ports, [...path, 'ports'])
  if (!rule || !peers || !ports) return
  // An absent or empty list allows everybody, and every port.
  const whom: readonly Peer[] =
    peers.length === 0
      ? [{ is: 'anyone' }]
      : peers.flatMap((peer, i) => readPeer(peer, [...path, side, i], policy.object, notes, options) ?? [])
  const where =
    ports.length === 0 ? undefined : ports.flatMap((port, i) => readPort(port, [...path, 'ports', i], notes) ?? [])
  policy.rules.push({
    ...{ policy, direction, effect: 'allow', text: `${direction}[${path.at(-1)}]`, peers: whom, ports: where },
    undecided: isPolicyStrange || notes.ignored > before ? unknownField : undefined,
  })
}

function readPeer(
  value: unknown,
  path: Path,
  object: PolicyObject,
  notes: Notes,
  options: ReadOptions,
): Peer | undefined {
  const peer = notes.fields(value, path, ['podSelector', 'namespaceSelector', 'ipBlock'])
  if (!peer) return undefined
  const { podSelector, namespaceSelector, ipBlock } = peer
  const hasSelector = isThere(podSelector) || isThere(namespaceSelector)
  if (isThere(ipBlock) === hasSelector) {
    notes.fault(path, 'needs either an ipBlock or selectors, and allows nobody')
    return undefined
  }
  if (isThere(ipBlock)) return readBlock(ipBlock, [...path, 'ipBlock'], notes, options)
  const pods = readSelector(podSelector ?? {}, [...path, 'podSelector'], notes)
  const namespaces = isThere(namespaceSelector)
    ? readSelector(namespaceSelector, [...path, 'namespaceSelector'], notes, key => `${names.ofNamespace}${key}`)
    : []
  if (!pods || !namespaces) return undefined
  return { is: 'labels', selector: scoped(pods, namespaces, isThere(namespaceSelector), object, options) }
}

/** Pods of the policy's namespace, or of the selected ones; of the policy's cluster, unless a label says another. */
function scoped(
  pods: Selector,
  namespaces: Selector,
  isElsewhere: boolean,
  { namespace, cluster }: PolicyObject,
  { defaultLocalCluster }: ReadOptions,
): Selector {
  const isOpen = !defaultLocalCluster || hasKey(pods, key => key === names.cluster)
  return [
    ...pods,
    ...namespaces,
    isElsewhere
      ? { key: names.namespace, operator: 'Exists', values: [] }
      : { key: names.namespace, operator: 'In', values: [namespace] },
    ...(isOpen ? [] : [{ key: names.cluster, operator: 'In' as const, values: [cluster] }]),
  ]
}

function readBlock(value: unknown, path: Path, notes: Notes, { ipBlocks }: ReadOptions): Peer | undefined {
  const block = notes.fields(value, path, ['cidr', 'except'])
  const range = parseRange(block?.cidr)
  const except = (notes.list(block?.except, [...path, 'except']) ?? []).map(parseRange)
  if (!range || except.includes(undefined)) {
    notes.fault(path, 'has something else than ranges like 10.0.0.0/8, and allows nobody')
    return undefined
  }
  return { is: 'range', ranges: [range], except: except.filter(each => each !== undefined), pods: ipBlocks === 'all' }
}

function readPort(value: unknown, path: Path, notes: Notes): PortMatch | undefined {
  const fields = notes.fields(value, path, ['protocol', 'port', 'endPort'])
  if (!fields) return undefined
  const { port, endPort } = fields
  const protocol = asProtocol(fields.protocol ?? 'TCP')
  const fail = () => notes.fault(path, 'is not a port: give protocol TCP, UDP or SCTP, and a number, a range or a name')
  if (!protocol) return fail() as undefined
  if (!isThere(port)) return isThere(endPort) ? (fail() as undefined) : { protocol, ...everyPort }
  if (typeof port === 'string') return isThere(endPort) ? (fail() as undefined) : { protocol, name: port }
  const last = isThere(endPort) ? endPort : port
  if (!isPort(port) || !isPort(last) || last < port) return fail() as undefined
  return { protocol, first: port, last }
}

function asProtocol(value: unknown): Protocol | undefined {
  return value === 'TCP' || value === 'UDP' || value === 'SCTP' ? value : undefined
}

export function isPort(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535
}

export function isThere(value: unknown): boolean {
  return value !== undefined && value !== null
}
