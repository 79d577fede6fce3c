/**
 * An evaluator of policies, written from the specifications alone and without regard to speed: it reads the objects anew for
 * every question. Kubernetes: the API reference of NetworkPolicy v1 and the page "Network Policies". Cilium: its documentation of
 * layer 3, layer 4, deny policies and default deny, and of cluster mesh.
 */

// biome-ignore lint/suspicious/noExplicitAny: objects as users write them, read without any check.
type Loose = any

export interface End {
  readonly cluster: string
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly namespaceLabels: Readonly<Record<string, string>>
  readonly address: string
  readonly ports: readonly { readonly name: string; readonly port: number; readonly protocol: 'TCP' | 'UDP' | 'SCTP' }[]
}

/** What is not a Pod: outside of the clusters, the machine of the Pods of cluster-1, or another machine. */
export interface Outsider {
  readonly address: string
  readonly is: 'world' | 'host' | 'remote-node'
}

export interface OraclePolicy {
  readonly cluster: string
  readonly object: Loose
}

export interface Question {
  readonly client: End | Outsider
  readonly backend: End | Outsider
  readonly port: number
  readonly protocol: string
}

export interface OracleOptions {
  readonly defaultLocalCluster: boolean
}

const isPod = (end: End | Outsider): end is End => 'cluster' in end

export function allowed(policies: readonly OraclePolicy[], question: Question, options: OracleOptions): boolean {
  const { client, backend } = question
  if (isPod(client) && client.address === backend.address) return true
  if (isPod(client) && !passes(policies, 'egress', client, backend, question, options)) return false
  return !isPod(backend) || passes(policies, 'ingress', backend, client, question, options)
}

type Side = 'ingress' | 'egress'

function passes(
  policies: readonly OraclePolicy[],
  side: Side,
  subject: End,
  peer: End | Outsider,
  question: Question,
  options: OracleOptions,
): boolean {
  const own = policies.filter(({ cluster }) => cluster === subject.cluster)
  const answers = own.map(policy =>
    policy.object.kind === 'NetworkPolicy'
      ? networkPolicy(policy, side, subject, peer, question, options)
      : ciliumPolicy(policy, side, subject, peer, question, options),
  )
  if (answers.some(({ denies }) => denies)) return false
  if (!answers.some(({ isolates }) => isolates)) return true
  return answers.some(({ allows }) => allows)
}

interface Answer {
  readonly isolates: boolean
  readonly allows: boolean
  readonly denies: boolean
}

const nothing: Answer = { isolates: false, allows: false, denies: false }

function networkPolicy(
  { object, cluster }: OraclePolicy,
  side: Side,
  subject: End,
  peer: End | Outsider,
  question: Question,
  options: OracleOptions,
): Answer {
  const { metadata, spec } = object
  if (subject.namespace !== metadata.namespace || !matches(spec.podSelector, subject.labels)) return nothing
  const types: string[] = spec.policyTypes ?? (spec.egress?.length > 0 ? ['Ingress', 'Egress'] : ['Ingress'])
  if (!types.includes(side === 'ingress' ? 'Ingress' : 'Egress')) return nothing
  const allows = (spec[side] ?? []).some((rule: Record<string, Loose>) => {
    const peers: Loose[] = rule[side === 'ingress' ? 'from' : 'to'] ?? []
    const ports: Loose[] = rule.ports ?? []
    const isPeer = peers.length === 0 || peers.some(each => npPeer(each, metadata.namespace, cluster, peer, options))
    return isPeer && (ports.length === 0 || ports.some(each => npPort(each, question)))
  })
  return { isolates: true, allows, denies: false }
}

function npPeer(
  peer: Loose,
  namespace: string,
  cluster: string,
  other: End | Outsider,
  { defaultLocalCluster }: OracleOptions,
): boolean {
  if (peer.ipBlock) {
    const { cidr, except = [] } = peer.ipBlock
    return within(cidr, other.address) && !except.some((hole: string) => within(hole, other.address))
  }
  if (!isPod(other) || (defaultLocalCluster && other.cluster !== cluster)) return false
  const inNamespace = peer.namespaceSelector
    ? matches(peer.namespaceSelector, other.namespaceLabels)
    : other.namespace === namespace
  return inNamespace && matches(peer.podSelector ?? {}, other.labels)
}

function npPort({ protocol = 'TCP', port, endPort }: Loose, question: Question): boolean {
  if (protocol !== question.protocol) return false
  if (port === undefined) return true
  if (typeof port === 'string') return isNamed(port, question)
  return port <= question.port && question.port <= (endPort ?? port)
}

function isNamed(name: string, { backend, port, protocol }: Question): boolean {
  return (
    isPod(backend) && backend.ports.some(each => each.name === name && each.port === port && each.protocol === protocol)
  )
}

function ciliumPolicy(
  { object, cluster }: OraclePolicy,
  side: Side,
  subject: End,
  peer: End | Outsider,
  question: Question,
  options: OracleOptions,
): Answer {
  const { metadata, spec, kind } = object
  const namespace = kind === 'CiliumNetworkPolicy' ? (metadata.namespace as string) : undefined
  if (namespace !== undefined && subject.namespace !== namespace) return nothing
  if (!matches(spec.endpointSelector, fullLabels(subject))) return nothing
  const allow: Loose[] = spec[side] ?? []
  const deny: Loose[] = spec[`${side}Deny`] ?? []
  const applies = (rule: Loose) => {
    const l3 = ciliumPeers(rule, side, namespace, cluster, peer, options)
    const ports: Loose[] = (rule.toPorts ?? []).flatMap((each: Loose) => each.ports ?? [])
    const hasPorts = (rule.toPorts ?? []).length > 0
    if (l3 === undefined && !hasPorts) return false
    return (l3 ?? true) && (!hasPorts || ports.some(each => ciliumPort(each, question)))
  }
  return {
    isolates: spec.enableDefaultDeny?.[side] ?? allow.length + deny.length > 0,
    allows: allow.some(applies),
    denies: deny.some(applies),
  }
}

/** Undefined if the rule says nothing about peers. */
function ciliumPeers(
  rule: Loose,
  side: Side,
  namespace: string | undefined,
  cluster: string,
  other: End | Outsider,
  { defaultLocalCluster }: OracleOptions,
): boolean | undefined {
  const word = side === 'ingress' ? 'from' : 'to'
  const [endpoints, cidrs, sets, entities] = ['Endpoints', 'CIDR', 'CIDRSet', 'Entities'].map(name => rule[word + name])
  if ([endpoints, cidrs, sets, entities].every(each => each === undefined)) return undefined
  const byLabels = (selector: Loose) => {
    if (!isPod(other)) return false
    const keys = [
      ...Object.keys(selector.matchLabels ?? {}),
      ...(selector.matchExpressions ?? []).map(({ key }: Loose) => key),
    ].map(key => key.replace(/^(k8s|any):/, ''))
    const aboutNamespace = keys.some(
      key => key === 'io.kubernetes.pod.namespace' || key.startsWith('io.cilium.k8s.namespace.labels.'),
    )
    const aboutCluster = keys.includes('io.cilium.k8s.policy.cluster')
    if (!aboutNamespace && namespace !== undefined && other.namespace !== namespace) return false
    if (!aboutCluster && defaultLocalCluster && other.cluster !== cluster) return false
    return matches(selector, fullLabels(other))
  }
  // The host of a Pod is a remote node to Pods of other clusters.
  const is = isPod(other) ? 'pod' : other.is === 'host' && cluster !== 'cluster-1' ? 'remote-node' : other.is
  const isOutside = is === 'world'
  return (
    (endpoints ?? []).some(byLabels) ||
    (cidrs ?? []).some((cidr: string) => isOutside && within(cidr, other.address)) ||
    (sets ?? []).some(
      ({ cidr, except = [] }: Loose) =>
        isOutside && within(cidr, other.address) && !except.some((hole: string) => within(hole, other.address)),
    ) ||
    (entities ?? []).some(
      (entity: string) =>
        entity === 'all' ||
        entity === is ||
        (isOutside && entity === `world-ipv${isV6(other.address) ? 6 : 4}`) ||
        (entity === 'cluster' && (isPod(other) ? other.cluster === cluster : !isOutside)),
    )
  )
}

function ciliumPort({ port, endPort, protocol = 'ANY' }: Loose, question: Question): boolean {
  if (protocol !== 'ANY' && protocol !== question.protocol) return false
  if (port === '0') return true
  if (!/^\d+$/.test(port)) return isNamed(port, question)
  return Number(port) <= question.port && question.port <= (endPort ?? Number(port))
}

function fullLabels({ labels, namespaceLabels, namespace, cluster }: End): Record<string, string> {
  const full: Record<string, string> = { ...labels }
  full['io.kubernetes.pod.namespace'] = namespace
  full['io.cilium.k8s.policy.cluster'] = cluster
  for (const [key, value] of Object.entries(namespaceLabels)) full[`io.cilium.k8s.namespace.labels.${key}`] = value
  return full
}

function matches(selector: Loose, labels: Readonly<Record<string, string>>): boolean {
  const plain = (key: string) => key.replace(/^(k8s|any):/, '')
  for (const [key, value] of Object.entries(selector?.matchLabels ?? {})) if (labels[plain(key)] !== value) return false
  for (const { key, operator, values } of selector?.matchExpressions ?? []) {
    const value = labels[plain(key)]
    if (operator === 'In' && (value === undefined || !values.includes(value))) return false
    if (operator === 'NotIn' && value !== undefined && values.includes(value)) return false
    if (operator === 'Exists' && value === undefined) return false
    if (operator === 'DoesNotExist' && value !== undefined) return false
  }
  return true
}

/** By the bits of the texts. An address of IPv6 has `::` once, and no IPv4 in it. */
function within(cidr: string, address: string): boolean {
  const [base = '', length = '128'] = cidr.split('/')
  return isV6(base) === isV6(address) && bits(base).slice(0, Number(length)) === bits(address).slice(0, Number(length))
}

function isV6(address: string): boolean {
  return address.includes(':')
}

function bits(address: string): string {
  if (!isV6(address)) return binary(address.split('.'), 10, 8)
  const [before = [], after = []] = address.split('::').map(half => half.split(':').filter(part => part !== ''))
  return binary([...before, ...Array(8 - before.length - after.length).fill('0'), ...after], 16, 16)
}

function binary(parts: readonly string[], radix: number, width: number): string {
  return parts.map(part => Number.parseInt(part, radix).toString(2).padStart(width, '0')).join('')
}
