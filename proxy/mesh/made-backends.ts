/** The backends of one cluster's service, made from its endpoints. Those of endpoints that stay the same objects are kept. */
import { familyOf, type Protocol } from '../model/address.ts'
import {
  type Backend,
  type BackendState,
  type Backends,
  backendKey,
  destinationOf,
  type Health,
} from '../model/backend.ts'
import { Kept } from '../model/lists/kept.ts'
import { isAmong, touchedOf } from '../model/lists/touched.ts'
import { type ClusterService, type Endpoint, precedenceOf } from '../model/service.ts'

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

export interface Verdicts {
  /** The verdict on a destination. */
  readonly health: (destination: string) => Health
  /** Whether others are preferred to a destination, since checks have no verdict on it yet. */
  readonly untested?: ((destination: string) => boolean) | undefined
  /** No verdict on a backend of the service has changed since it was merged last. */
  readonly isJudged?: boolean
}

/** The backends of a member, and what they depend on. */
export interface Made {
  readonly service: ClusterService
  readonly local: boolean
  readonly network: string | undefined
  readonly demoted: boolean
  readonly backends: Backends
}

/** `earlier`: what was made of an earlier state of the same cluster's service, if it is known. */
export function madeOf(member: MemberService, verdicts: Verdicts, earlier: Made | undefined): Made {
  const { service, local, network, demoted = false } = member
  if (!earlier || earlier.local !== local || earlier.network !== network || earlier.demoted !== demoted) {
    return { service, local, network, demoted, backends: makeBackends(member, service.endpoints, verdicts) }
  }
  const known = verdicts.isJudged ? earlier.backends : judged(earlier.backends, verdicts)
  if (service === earlier.service && known === earlier.backends) return earlier
  return { service, local, network, demoted, backends: remade(member, verdicts, earlier.service.endpoints, known) }
}

/** Only the backends at addresses of endpoints that have come or gone are made again. Endpoints that stay have kept their order. */
function remade(member: MemberService, verdicts: Verdicts, before: readonly Endpoint[], known: Backends): Backends {
  const { endpoints } = member.service
  const touched = touchedOf(before, endpoints)
  if (touched.before.length + touched.after.length === 0) return known
  if (touched.after === endpoints) return makeBackends(member, endpoints, verdicts)
  return interleaved(known, isAmong(touched.before, touched.after), makeBackends(member, touched.after, verdicts))
}

/** Two sorted lists as one; of the first, what is not dropped, which has no address of the second. */
function interleaved(known: Backends, isDropped: (backend: Backend) => boolean, fresh: Backends): Backends {
  const all: Backend[] = []
  let next = 0
  for (const backend of known) {
    if (isDropped(backend)) continue
    for (let one = fresh[next]; one && byAddress(one, backend) < 0; one = fresh[++next]) all.push(one)
    all.push(backend)
  }
  for (; next < fresh.length; next++) all.push(fresh[next] as Backend)
  return all.slice()
}

/** With the verdicts of now. Those that have them stay, and the others keep their texts: a verdict makes no second copy of those. */
function judged(backends: Backends, verdicts: Verdicts): Backends {
  if (backends.every(backend => hasVerdict(backend, verdicts))) return backends
  return backends.map(backend => {
    if (hasVerdict(backend, verdicts)) return backend
    const { destination } = backend
    const health = verdicts.health(destination)
    if (verdicts.untested?.(destination)) return Object.freeze({ ...backend, health, untested: true as const })
    if (backend.untested === undefined) return Object.freeze({ ...backend, health })
    const { untested: _, ...rest } = backend
    return Object.freeze({ ...rest, health })
  })
}

function hasVerdict({ destination, health, untested }: Backend, verdicts: Verdicts): boolean {
  return health === verdicts.health(destination) && (untested === true) === (verdicts.untested?.(destination) ?? false)
}

/** A backend in the making: the endpoint that has this address and port, and what others with the same ones add to it. */
interface Draft {
  endpoint: Endpoint
  readonly protocol: Protocol
  readonly port: number
  ports: readonly string[]
  hostnames: Set<string> | undefined
}

function makeBackends(
  { service, local, network, demoted = false }: MemberService,
  endpoints: readonly Endpoint[],
  verdicts: Verdicts,
): Backends {
  const drafts = new Map<string, Draft>()
  for (const endpoint of endpoints) {
    for (const { name, protocol, port } of portsOf(endpoint)) {
      const key = destinationOf(network, endpoint.address, port, protocol)
      const draft = drafts.get(key)
      if (draft) add(draft, endpoint, name)
      else drafts.set(key, { endpoint, protocol, port, ports: alone(name), hostnames: undefined })
    }
  }
  const of = { cluster: service.cluster, network, remote: !local, demoted }
  const backends = [...drafts].map(([destination, draft]) => backendOf(destination, draft, of, verdicts))
  return backends.sort(byAddress)
}

const lists = new Kept<readonly string[]>()

/** Most backends have one port name: all with the same share its list. */
function alone(name: string): readonly string[] {
  return lists.find(name) ?? lists.of(name, name === '' ? none : Object.freeze([name]))
}

const none: readonly never[] = Object.freeze([])

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
  { health, untested }: Verdicts,
): Backend {
  const { endpoint, protocol, port, ports, hostnames } = draft
  const { address, hostname, pod, node, zone, region } = endpoint
  const others = hostnames && [...hostnames].filter(name => name !== (hostname ?? ''))
  const key = backendKey(cluster, address, port, protocol)
  const family = familyOf(address)
  const state = stateOf(endpoint)
  const serving = endpoint.ready || endpoint.serving
  const isRare = network !== undefined || demoted || hostname !== undefined || hostnames || region !== undefined
  if (!isRare && zone !== undefined && !untested?.(destination)) {
    // Each as one literal, whose properties take less memory than those that are added one by one.
    const weight = endpoint.weight ?? 100
    const verdict = health(destination)
    if (pod !== undefined && node !== undefined) {
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
    if (pod === undefined && node === undefined) {
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
        zone,
      })
    }
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
