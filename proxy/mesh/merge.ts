/**
 * Merges the services of one namespace and name in several clusters into a global service. Pure. The rules are Cilium's (1.3,
 * 1.5, 1.7), with two additions: cluster weights, and `internalTrafficPolicy: Local` restricted to this node.
 */
import { type Family, familyOf, type Protocol } from '../model/address.ts'
import {
  type Backend,
  type BackendState,
  type Backends,
  backendKey,
  destinationOf,
  type Health,
} from '../model/backend.ts'
import {
  type ClusterService,
  type Clusterset,
  type Endpoint,
  type Frontend,
  frontendKey,
  type GlobalService,
  portMatches,
  precedenceOf,
  type ServiceKey,
  type ServicePort,
  type Settings,
} from '../model/service.ts'
import { balanced, repeatsPod } from './weights.ts'

/** One cluster's service in a merge. */
export interface MemberService {
  readonly service: ClusterService
  readonly local: boolean
  /** Global, shared and in a global namespace, according to its own cluster. Not used for the local one. */
  readonly exported: boolean
  /** The network of its cluster; absent: the shared one. */
  readonly network?: string | undefined
  /** Of a cluster that has been lost for too long: see {@link Backend.demoted}. */
  readonly demoted?: boolean
}

export interface MergeContext {
  /** The verdict on a destination. */
  readonly health: (destination: string) => Health
  /** Whether others are preferred to a destination, since checks have no verdict on it yet. */
  readonly untested?: ((destination: string) => boolean) | undefined
  /** The spec that the exporting clusters agreed on; its ports are added to those of the local Service. */
  readonly clusterset?: Clusterset | undefined
  /** The addresses that clients dial: the ClusterIPs of the local service, or its virtual address. */
  readonly frontendIps: readonly FrontendIp[]
  /** The ports that frontends listen on instead of those that are declared; undefined where none is left. */
  readonly portsFor?: (declared: readonly ServicePort[], backends: Backends) => readonly (number | undefined)[]
  /** The node that Starlane runs on, if known: for `internalTrafficPolicy: Local`. */
  readonly node: string | undefined
  /** Wall-clock milliseconds. */
  readonly now: number
}

export interface FrontendIp {
  readonly ip: string
  /** Undefined for a virtual address, which takes backends of both families. */
  readonly family: Family | undefined
}

/** `members`: in the order of the configured clusters, the local one first. */
export function merge(
  key: ServiceKey,
  members: readonly MemberService[],
  settings: Settings,
  context: MergeContext,
): GlobalService {
  const local = members.find(member => member.local)?.service
  const taking = members.filter(member => member.local || (settings.global && member.exported))
  const waiting = members.filter(member => !member.local && member.exported && !taking.includes(member))

  const backends = distinct(taking.flatMap(member => backendsOf(member, context)))
  const frontends = local ? frontendsOf(key, local, backends, settings, context) : []
  const first = members[0]?.service
  return Object.freeze({
    key,
    namespace: first?.namespace ?? '',
    name: first?.name ?? '',
    local,
    members: taking.map(member => member.service),
    settings,
    ...(context.clusterset && { clusterset: context.clusterset }),
    frontends,
    backends: asBalanced(backends, frontends, settings),
    parked: waiting.flatMap(member => backendsOf(member, context)),
    changedAt: context.now,
  })
}

/** Backends by the service they were made from: a change in one cluster does not rebuild those of the others. */
const made = new WeakMap<ClusterService, Made>()

interface Made {
  readonly local: boolean
  readonly network: string | undefined
  readonly demoted: boolean
  readonly backends: Backends
}

function backendsOf(member: MemberService, context: MergeContext): Backends {
  const { service, local, network, demoted = false } = member
  const known = made.get(service)
  const isSame = known?.local === local && known.network === network && known.demoted === demoted
  const backends = isSame ? judged(known.backends, context) : makeBackends(member, context)
  if (backends !== known?.backends) made.set(service, { local, network, demoted, backends })
  return backends
}

/** With the verdicts of now. Those that have them stay, and the others keep their texts: a verdict makes no second copy of those. */
function judged(backends: Backends, context: MergeContext): Backends {
  if (backends.every(backend => hasVerdict(backend, context))) return backends
  return backends.map(backend => {
    if (hasVerdict(backend, context)) return backend
    const { destination } = backend
    const health = context.health(destination)
    if (context.untested?.(destination)) return Object.freeze({ ...backend, health, untested: true as const })
    if (backend.untested === undefined) return Object.freeze({ ...backend, health })
    const { untested: _, ...rest } = backend
    return Object.freeze({ ...rest, health })
  })
}

function hasVerdict({ destination, health, untested }: Backend, context: MergeContext): boolean {
  return health === context.health(destination) && (untested === true) === (context.untested?.(destination) ?? false)
}

/** A backend in the making: the endpoint that has this address and port, and what others with the same ones add to it. */
interface Draft {
  endpoint: Endpoint
  readonly protocol: Protocol
  readonly port: number
  ports: readonly string[]
  hostnames: Set<string> | undefined
}

function makeBackends({ service, local, network, demoted = false }: MemberService, context: MergeContext): Backends {
  const drafts = new Map<string, Draft>()
  /** Most backends of a service have one port name: they share its list. */
  const alone = new Map<string, readonly string[]>()
  const namesOf = (name: string): readonly string[] => {
    const known = alone.get(name)
    const names = known ?? (name === '' ? [] : [name])
    if (!known) alone.set(name, names)
    return names
  }
  for (const endpoint of service.endpoints) {
    for (const { name, protocol, port } of portsOf(endpoint)) {
      const key = destinationOf(network, endpoint.address, port, protocol)
      const draft = drafts.get(key)
      if (draft) add(draft, endpoint, name)
      else drafts.set(key, { endpoint, protocol, port, ports: namesOf(name), hostnames: undefined })
    }
  }
  const of = { cluster: service.cluster, network, remote: !local, demoted }
  const backends = [...drafts].map(([destination, draft]) => backendOf(destination, draft, of, context))
  return backends.sort(byAddress)
}

/** Another port name of the endpoint, or another endpoint: only those without ports, or in equal states, meet here. */
function add(draft: Draft, endpoint: Endpoint, name: string): void {
  draft.ports = joined(draft.ports, name)
  if (draft.endpoint === endpoint) return
  const names = [draft.endpoint, endpoint].filter(({ ready }) => ready).map(({ hostname = '' }) => hostname)
  draft.hostnames ??= new Set()
  for (const hostname of names) draft.hostnames.add(hostname)
  if (precedenceOf(endpoint) < precedenceOf(draft.endpoint)) draft.endpoint = endpoint
}

/** What the backends of one cluster have in common. */
interface Of {
  readonly cluster: string
  readonly network: string | undefined
  readonly remote: boolean
  readonly demoted: boolean
}

function backendOf(
  destination: string,
  draft: Draft,
  { cluster, network, remote, demoted }: Of,
  { health, untested }: MergeContext,
): Backend {
  const { endpoint, protocol, port, ports, hostnames } = draft
  const { address, hostname, pod, node, zone, region } = endpoint
  const others = hostnames && [...hostnames].filter(name => name !== (hostname ?? ''))
  const key = backendKey(cluster, address, port, protocol)
  const family = familyOf(address)
  const state = stateOf(endpoint)
  const serving = endpoint.ready || endpoint.serving
  const isRare = network !== undefined || demoted || hostname !== undefined || hostnames || region !== undefined
  if (!isRare && pod !== undefined && node !== undefined && zone !== undefined && !untested?.(destination)) {
    // The backend of a pod as one literal, whose properties take less memory than those that are added one by one.
    const weight = endpoint.weight ?? 100
    const verdict = health(destination)
    return Object.freeze({
      key,
      destination,
      cluster,
      remote,
      address,
      family,
      port,
      protocol,
      ports,
      state,
      serving,
      health: verdict,
      weight,
      pod,
      node,
      zone,
    })
  }
  return Object.freeze({
    key,
    destination,
    cluster,
    ...(network === undefined ? {} : { network }),
    remote,
    address,
    family,
    port,
    protocol,
    ports,
    state,
    serving,
    health: health(destination),
    ...(untested?.(destination) && { untested: true as const }),
    weight: endpoint.weight ?? 100,
    ...(demoted && { demoted: true as const }),
    ...(hostname === undefined ? {} : { hostname }),
    ...(others && others.length > 0 && { otherHostnames: others }),
    ...(pod === undefined ? {} : { pod }),
    ...(node === undefined ? {} : { node }),
    ...(zone === undefined ? {} : { zone }),
    ...(region === undefined ? {} : { region }),
  })
}

/** Endpoints of a headless service may have no ports: port 0 keeps them visible to DNS, and no frontend matches it. */
function portsOf(endpoint: Endpoint): Endpoint['ports'] {
  return endpoint.ports.length > 0 ? endpoint.ports : portless
}

const portless: Endpoint['ports'] = [{ name: '', protocol: 'TCP', port: 0 }]

/** Several named ports on one target port make one backend with all names. No names at all match every frontend. */
function joined(names: readonly string[], name: string): readonly string[] {
  if (names.length === 0 || name === '') return []
  return names.includes(name) ? names : [...names, name]
}

/** Cilium 1.5; a weight of 0 is maintenance there too. */
function stateOf({ ready, terminating, weight }: Endpoint): BackendState {
  if (weight === 0) return 'maintenance'
  if (ready) return 'active'
  if (terminating) return 'terminating'
  return 'maintenance'
}

function byAddress(a: Backend, b: Backend): number {
  return a.family - b.family || (a.address < b.address ? -1 : a.address > b.address ? 1 : a.port - b.port)
}

/**
 * Each destination once. Several clusters may list an external address; the backend is that of the local cluster, then of the first
 * in the order of the configuration. Addresses that belong to another cluster do not get here: see `admission/`.
 */
function distinct(all: Backends): Backends {
  const first = new Map<string, Backend>()
  const others = new Map<string, string[]>()
  for (const backend of all) {
    const { destination, cluster } = backend
    if (!first.has(destination)) first.set(destination, backend)
    else others.set(destination, [...(others.get(destination) ?? []), cluster])
  }
  if (others.size === 0) return all
  return [...first].map(([destination, backend]) => {
    const alsoIn = others.get(destination)
    return alsoIn ? Object.freeze({ ...backend, alsoIn }) : backend
  })
}

/** With the weights that they have in their first frontend. Without frontends (headless), DNS chooses by the clusters' shares. */
function asBalanced(backends: Backends, frontends: readonly Frontend[], { clusterWeights }: Settings): Backends {
  if (frontends.length === 0) return clusterWeights ? balanced(backends, clusterWeights) : backends
  if (!clusterWeights && !repeatsPod(backends)) return backends
  const byKey = new Map<string, Backend>()
  for (const frontend of frontends.toReversed())
    for (const backend of frontend.backends) byKey.set(backend.key, backend)
  return backends.map(backend => byKey.get(backend.key) ?? backend)
}

function frontendsOf(
  key: ServiceKey,
  local: ClusterService,
  backends: Backends,
  { global, clusterWeights }: Settings,
  { frontendIps, node, clusterset, portsFor }: MergeContext,
): Frontend[] {
  const candidates = nodeLocal(local, backends, node)
  const ports = global && (local.exported || local.imported) ? portsWith(local, clusterset) : local.ports
  // Addresses that are the Service's own keep its ports.
  const listened = frontendIps.some(({ family }) => family === undefined) ? portsFor?.(ports, backends) : undefined
  return frontendIps.flatMap(({ ip, family }) =>
    ports.flatMap(({ name, port: declared, protocol }, i) => {
      const port = listened ? listened[i] : declared
      if (port === undefined) return []
      const offered = balanced(matching({ name, protocol, family }, candidates), clusterWeights)
      const fresh = offered.some(({ demoted }) => demoted) ? offered.filter(({ demoted }) => !demoted) : undefined
      return Object.freeze({
        key: frontendKey(ip, port, protocol),
        service: key,
        ip,
        port,
        protocol,
        name,
        ...(port !== declared && { declared }),
        backends: offered,
        ...(fresh && { fresh: Object.freeze(fresh) }),
      })
    }),
  )
}

/**
 * The address of a service also serves the clusterset, unless a derived Service has another address: all exported ports are
 * reachable there (KEP-1645). On a conflict the port of the local Service wins.
 */
function portsWith(local: ClusterService, clusterset: Clusterset | undefined): readonly ServicePort[] {
  if (!clusterset || local.derived !== undefined) return local.ports
  if (local.headless) return clusterset.ports
  const isKnown = (port: ServicePort) =>
    local.ports.some(own => own.port === port.port && own.protocol === port.protocol)
  return [...local.ports, ...clusterset.ports.filter(port => !isKnown(port))]
}

function nodeLocal(local: ClusterService, backends: Backends, node: string | undefined): Backends {
  if (local.internalTrafficPolicy !== 'Local' || node === undefined) return backends
  return backends.filter(b => !b.remote && (b.node === undefined || b.node === node))
}

function matching(
  frontend: { name: string; protocol: Protocol; family: Family | undefined },
  backends: Backends,
): Backends {
  // A copy has no room to grow.
  return backends.filter(b => b.state !== 'maintenance' && b.port !== 0 && portMatches(frontend, b)).slice()
}

/** Whether two merges of one name gave the same result, so that no change has to be reported. */
export function sameService(a: GlobalService, b: GlobalService): boolean {
  return (
    a.local === b.local &&
    a.clusterset === b.clusterset &&
    a.members.length === b.members.length &&
    a.members.every((member, i) => member === b.members[i]) &&
    sameBackends(a.backends, b.backends) &&
    sameBackends(a.parked, b.parked) &&
    a.frontends.length === b.frontends.length &&
    a.frontends.every((frontend, i) => frontend.key === b.frontends[i]?.key && frontend.name === b.frontends[i]?.name)
  )
}

function sameBackends(a: Backends, b: Backends): boolean {
  return (
    a.length === b.length &&
    a.every((x, i) => {
      const y = b[i]
      return (
        x.key === y?.key &&
        x.destination === y.destination &&
        x.health === y.health &&
        x.untested === y.untested &&
        x.state === y.state &&
        x.weight === y.weight &&
        x.demoted === y.demoted &&
        sameNames(x.alsoIn, y.alsoIn)
      )
    })
  )
}

function sameNames(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  return a === b || (a?.length === b?.length && a?.join() === b?.join())
}
