/** Whom a rule of a Cilium policy is about. */
import type { PolicyObject } from '../../../proxy/plugin.ts'
import { isNamePattern, nameTest } from '../names.ts'
import { parseRange, type Range } from '../range.ts'
import type { Direction, Kind, Peer, ReadOptions } from '../rule.ts'
import { hasKey, names, plainKey, readSelector, type Selector, selects } from '../selector.ts'
import { isThere } from './network-policy.ts'
import type { Notes, Path } from './notes.ts'

interface Found {
  /** Undefined if the rule has no field of peers. An empty list matches nobody. */
  readonly peers: readonly Peer[] | undefined
  /** `fromRequires`, `toRequires`: forbids Pods that do not match, whatever other rules say. */
  readonly requirement: Peer | undefined
  /** The fields that were looked at. */
  readonly fields: readonly string[]
}

interface Context {
  readonly object: PolicyObject
  readonly notes: Notes
  readonly options: ReadOptions
}

const everyKind: readonly Kind[] = ['pod', 'host', 'node', 'ingress', 'world']

export function readPeers(
  rule: Readonly<Record<string, unknown>>,
  path: Path,
  direction: Direction,
  object: PolicyObject,
  notes: Notes,
  options: ReadOptions,
): Found {
  const side = direction === 'ingress' ? 'from' : 'to'
  const context = { object, notes, options }
  const readers: Readonly<Record<string, (value: unknown, path: Path) => Peer | undefined>> = {
    [`${side}Endpoints`]: (value, at) => readEndpoints(value, at, context),
    [`${side}CIDR`]: (value, at) => readCidr(value, at, notes),
    [`${side}CIDRSet`]: (value, at) => readCidrRule(value, at, context),
    [`${side}Entities`]: (value, at) => readEntity(value, at, context),
    [`${side}Groups`]: (_value, at) => undecided(at, 'groups of a cloud provider are not known here', ['world'], notes),
    [`${side}Nodes`]: (_value, at) => undecided(at, 'labels of nodes are not known here', ['host', 'node'], notes),
    ...(side === 'to' && {
      toServices: (value: unknown, at: Path) => readService(value, at, notes),
      toFQDNs: (value: unknown, at: Path) => readName(value, at, notes),
    }),
  }
  const requires = `${side}Requires`
  const given = Object.keys(readers).filter(field => isThere(rule[field]))
  const peers = given.flatMap((field): Peer[] => {
    const list = notes.list(rule[field], [...path, field])
    return list
      ? list.flatMap((value, i) => readers[field]?.(value, [...path, field, i]) ?? [])
      : [unreadable('it has no list of peers', everyKind)]
  })
  return {
    peers: given.length > 0 ? peers : undefined,
    requirement: readRequires(rule[requires], [...path, requires], context),
    fields: [...Object.keys(readers), requires],
  }
}

function readRequires(value: unknown, path: Path, context: Context): Peer | undefined {
  if (!isThere(value)) return undefined
  const { notes } = context
  const selectors = (notes.list(value, path) ?? []).map((each, i) => {
    const before = notes.ignored
    const selector = readSelector(each, [...path, i], notes, plainKey)
    return notes.ignored > before ? undefined : selector
  })
  // One that cannot be read as a whole is met by nobody.
  return { is: 'others', selectors: selectors.flatMap(each => (each ? [scoped(each, context)] : [])) }
}

function readEndpoints(value: unknown, path: Path, context: Context): Peer | undefined {
  const selector = readSelector(value, path, context.notes, plainKey)
  if (selector) return { is: 'labels', selector: scoped(selector, context) }
  return unreadable('its selector cannot be read', everyKind)
}

/** Adds what the selector does not say: the namespace of the policy, and its cluster. */
function scoped(selector: Selector, { object, options }: Context): Selector {
  if (hasKey(selector, key => key.startsWith('reserved:'))) return selector
  const { namespace, cluster } = object
  const hasNamespace = hasKey(selector, key => key === names.namespace)
  const ofNamespace = hasKey(selector, key => key.startsWith(names.ofNamespace))
  const hasCluster = hasKey(selector, key => key === names.cluster)
  return [
    ...selector,
    ...(!hasNamespace && namespace === ''
      ? [{ key: names.namespace, operator: 'Exists' as const, values: [] }]
      : !hasNamespace && !ofNamespace
        ? [{ key: names.namespace, operator: 'In' as const, values: [namespace] }]
        : []),
    ...(options.defaultLocalCluster && !hasCluster
      ? [{ key: names.cluster, operator: 'In' as const, values: [cluster] }]
      : []),
  ]
}

function readCidr(value: unknown, path: Path, notes: Notes): Peer {
  const range = parseRange(value)
  return rangesOf(range && [range], undefined, path, notes)
}

/** A range, or the groups of ranges that are named or selected, without what is excepted. */
function readCidrRule(value: unknown, path: Path, context: Context): Peer {
  const { notes } = context
  const fields = notes.fields(value, path, ['cidr', 'cidrGroupRef', 'cidrGroupSelector', 'except'])
  if (!fields) return unreadable('its range cannot be read', ['world'])
  if (isThere(fields.cidr)) {
    const range = parseRange(fields.cidr)
    return rangesOf(range && [range], fields.except, path, notes)
  }
  const groups = groupsOf(fields, path, context)
  return typeof groups === 'string'
    ? undecided(path, groups, ['world'], notes)
    : rangesOf(groups, fields.except, path, notes)
}

/** The ranges, or why they are not known. */
function groupsOf(
  { cidrGroupRef: name, cidrGroupSelector }: { cidrGroupRef?: unknown; cidrGroupSelector?: unknown },
  path: Path,
  { object, notes, options }: Context,
): readonly Range[] | string {
  const groups = (options.groups ?? []).filter(({ cluster }) => cluster === object.cluster)
  if (isThere(name))
    return groups.find(group => group.name === name)?.ranges ?? `no usable CiliumCIDRGroup ${name} is known here`
  const selector = readSelector(cidrGroupSelector ?? {}, [...path, 'cidrGroupSelector'], notes, plainKey)
  if (!selector) return 'its selector cannot be read'
  return groups.filter(({ labels }) => selects(selector, key => labels[key])).flatMap(({ ranges }) => ranges)
}

function rangesOf(ranges: readonly Range[] | undefined, except: unknown, path: Path, notes: Notes): Peer {
  const holes = notes.list(except, [...path, 'except'])?.map(parseRange)
  if (ranges && holes && !holes.includes(undefined))
    return { is: 'range', ranges, except: holes.filter(each => each !== undefined), pods: false }
  notes.fault(path, 'is not a range like 10.0.0.0/8')
  return unreadable('its range cannot be read', ['world'])
}

/** Entities of Cilium 1.20 (pkg/policy/api/entity.go). */
function readEntity(value: unknown, path: Path, { object, notes }: Context): Peer | undefined {
  const { cluster } = object
  switch (value) {
    case 'all':
      return { is: 'anyone' }
    case 'world':
      return { is: 'kinds', kinds: ['world'] }
    case 'world-ipv4':
      return { is: 'kinds', kinds: ['world'], family: 4 }
    case 'world-ipv6':
      return { is: 'kinds', kinds: ['world'], family: 6 }
    case 'host':
      return { is: 'kinds', kinds: ['host'] }
    case 'remote-node':
      return { is: 'kinds', kinds: ['node'] }
    case 'ingress':
      return { is: 'kinds', kinds: ['ingress'] }
    case 'cluster':
      return { is: 'kinds', kinds: ['pod', 'host', 'node', 'ingress'], cluster }
    case 'none':
      return undefined
    case 'kube-apiserver':
      return undecided(path, 'the addresses of API servers are not known here', ['host', 'node', 'world'], notes)
    case 'init':
    case 'health':
    case 'unmanaged':
      notes.undecided(path, `${value} is not told apart here, and matches nothing`)
      return undefined
    default:
      notes.fault(path, 'is not an entity')
      return unreadable('its entity is not known', everyKind)
  }
}

/** The addresses that our DNS has answered for a name. */
function readName(value: unknown, path: Path, notes: Notes): Peer {
  const { matchName, matchPattern } = notes.fields(value, path, ['matchName', 'matchPattern']) ?? {}
  const given = isThere(matchName) ? matchName : matchPattern
  if (isNamePattern(given) && !(isThere(matchName) && given.includes('*'))) {
    const pattern = given.trim().toLowerCase()
    return { is: 'name', pattern, test: nameTest(pattern) }
  }
  notes.fault(path, 'needs either matchName, a name, or matchPattern, in which * stands for characters of a label')
  return unreadable('its name cannot be read', ['world'])
}

/** The service that a flow is for, which is known here: with or without a selector. */
function readService(value: unknown, path: Path, notes: Notes): Peer {
  const fields = notes.fields(value, path, ['k8sService', 'k8sServiceSelector'])
  if (!fields) return unreadable('its service cannot be read', everyKind)
  if (isThere(fields.k8sService)) {
    const at = [...path, 'k8sService']
    const { serviceName, namespace } = notes.fields(fields.k8sService, at, ['serviceName', 'namespace']) ?? {}
    if (typeof serviceName !== 'string') {
      notes.fault(at, 'needs a serviceName')
      return unreadable('its service cannot be read', everyKind)
    }
    return {
      is: 'service',
      text: `${namespace ?? '*'}/${serviceName}`,
      has: service => service.name === serviceName && (!namespace || service.namespace === namespace),
    }
  }
  const at = [...path, 'k8sServiceSelector']
  const chosen = notes.fields(fields.k8sServiceSelector, at, ['selector', 'namespace'])
  const { selector, namespace } = chosen ?? {}
  const read = chosen && readSelector(selector ?? {}, [...at, 'selector'], notes, plainKey)
  if (!read) return unreadable('its service cannot be read', everyKind)
  return {
    is: 'service',
    text: `${namespace ?? '*'}/${JSON.stringify(read)}`,
    has: ({ local, namespace: own }) =>
      (!namespace || own === namespace) && local !== undefined && selects(read, key => local.labels[key]),
  }
}

function undecided(path: Path, why: string, could: readonly Kind[], notes: Notes): Peer {
  notes.undecided(path, why)
  return unreadable(why, could)
}

/** What has been noted already. */
function unreadable(why: string, could: readonly Kind[]): Peer {
  return { is: 'undecided', could, why }
}
