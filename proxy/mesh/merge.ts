/**
 * Merges the services of one namespace and name in several clusters into a global service. Pure. The rules are Cilium's (1.3,
 * 1.5, 1.7), with two additions: cluster weights, and `internalTrafficPolicy: Local` restricted to this node.
 */
import { type Family, familyOf, type Protocol } from '../model/address.ts'
import { type Backend, type BackendState, type Backends, backendKey, type Health, isBad } from '../model/backend.ts'
import {
  type ClusterService,
  type Clusterset,
  type Endpoint,
  type Frontend,
  frontendKey,
  type GlobalService,
  portMatches,
  type ServiceKey,
  type ServicePort,
  type Settings,
} from '../model/service.ts'

/** One cluster's service in a merge. */
export interface MemberService {
  readonly service: ClusterService
  readonly local: boolean
  /** Global, shared and in a global namespace, according to its own cluster. Not used for the local one. */
  readonly exported: boolean
}

export interface MergeContext {
  readonly health: (backendKey: string) => Health
  /** The spec that the exporting clusters agreed on; its ports are added to those of the local Service. */
  readonly clusterset?: Clusterset | undefined
  /** The addresses that clients dial: the ClusterIPs of the local service, or its virtual address. */
  readonly frontendIps: readonly FrontendIp[]
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

export interface MergeResult {
  readonly service: GlobalService
  /** Backends left out because another cluster has the same address and port: overlapping pod networks. */
  readonly overlaps: readonly { readonly key: string; readonly winner: string }[]
}

/** `members`: in the order of the configured clusters, the local one first. */
export function merge(
  key: ServiceKey,
  members: readonly MemberService[],
  settings: Settings,
  context: MergeContext,
): MergeResult {
  const local = members.find(member => member.local)?.service
  const taking = members.filter(member => member.local || (settings.global && member.exported))
  const waiting = members.filter(member => !member.local && member.exported && !taking.includes(member))

  const { backends, overlaps } = withoutOverlaps(taking.flatMap(member => backendsOf(member, context)))
  const weighted = settings.clusterWeights ? shareOut(backends, settings.clusterWeights) : backends
  const first = members[0]?.service
  return {
    service: Object.freeze({
      key,
      namespace: first?.namespace ?? '',
      name: first?.name ?? '',
      local,
      members: taking.map(member => member.service),
      settings,
      ...(context.clusterset && { clusterset: context.clusterset }),
      frontends: local ? frontendsOf(key, local, weighted, settings.global, context) : [],
      backends: weighted,
      parked: waiting.flatMap(member => backendsOf(member, context)),
      changedAt: context.now,
    }),
    overlaps,
  }
}

/** Backends by the service they were made from: a change in one cluster does not rebuild those of the others. */
const made = new WeakMap<ClusterService, { readonly local: boolean; readonly backends: Backends }>()

function backendsOf(member: MemberService, context: MergeContext): Backends {
  const { service, local } = member
  const known = made.get(service)
  if (known?.local === local && known.backends.every(({ key, health }) => health === context.health(key))) {
    return known.backends
  }
  const backends = makeBackends(member, context)
  made.set(service, { local, backends })
  return backends
}

function makeBackends({ service, local }: MemberService, { health }: MergeContext): Backends {
  const byKey = new Map<string, Backend>()
  for (const endpoint of service.endpoints) {
    for (const { name, protocol, port } of portsOf(endpoint)) {
      const key = backendKey(service.cluster, endpoint.address, port, protocol)
      const known = byKey.get(key)
      const ports = known ? joined(known.ports, name) : name === '' ? [] : [name]
      byKey.set(
        key,
        Object.freeze({
          key,
          cluster: service.cluster,
          remote: !local,
          address: endpoint.address,
          family: familyOf(endpoint.address),
          port,
          protocol,
          ports,
          state: stateOf(endpoint),
          serving: endpoint.ready || endpoint.serving,
          health: health(key),
          weight: endpoint.weight ?? 100,
          ...(endpoint.hostname === undefined ? {} : { hostname: endpoint.hostname }),
          ...(endpoint.pod === undefined ? {} : { pod: endpoint.pod }),
          ...(endpoint.node === undefined ? {} : { node: endpoint.node }),
          ...(endpoint.zone === undefined ? {} : { zone: endpoint.zone }),
          ...(endpoint.region === undefined ? {} : { region: endpoint.region }),
        }),
      )
    }
  }
  return [...byKey.values()].sort(byAddress)
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

/** With direct routing an address leads to one place only: the local cluster wins, then the order of the configuration. */
function withoutOverlaps(all: readonly Backend[]): { backends: Backends; overlaps: { key: string; winner: string }[] } {
  const winners = new Map<string, Backend>()
  const overlaps: { key: string; winner: string }[] = []
  for (const backend of all) {
    const place = `${backend.address} ${backend.port} ${backend.protocol}`
    const winner = winners.get(place)
    if (winner) overlaps.push({ key: backend.key, winner: winner.key })
    else winners.set(place, backend)
  }
  return { backends: overlaps.length === 0 ? all : [...winners.values()], overlaps }
}

/**
 * Turns cluster weights into backend weights, so that a cluster's share does not depend on how many usable backends it has.
 * Each port is computed separately, since each frontend balances over its own backends. A cluster without a weight gets
 * flows only when no other backend is left.
 */
function shareOut(backends: Backends, shares: Readonly<Record<string, number>>): Backends {
  const groupOf = (b: Backend): string => `${b.cluster} ${b.protocol} ${b.family} ${b.ports.join()}`
  const sums = new Map<string, number>()
  for (const backend of backends) {
    if (backend.state !== 'active' || isBad(backend)) continue
    sums.set(groupOf(backend), (sums.get(groupOf(backend)) ?? 0) + backend.weight)
  }
  return backends.map(backend => {
    const sum = sums.get(groupOf(backend)) ?? backend.weight
    return Object.freeze({ ...backend, weight: sum > 0 ? ((shares[backend.cluster] ?? 0) * backend.weight) / sum : 0 })
  })
}

function frontendsOf(
  key: ServiceKey,
  local: ClusterService,
  backends: Backends,
  global: boolean,
  { frontendIps, node, clusterset }: MergeContext,
): Frontend[] {
  const candidates = nodeLocal(local, backends, node)
  const ports = global && (local.exported || local.imported) ? portsWith(local, clusterset) : local.ports
  return frontendIps.flatMap(({ ip, family }) =>
    ports.map(({ name, port, protocol }) =>
      Object.freeze({
        key: frontendKey(ip, port, protocol),
        service: key,
        ip,
        port,
        protocol,
        name,
        backends: matching({ name, protocol, family }, candidates),
      }),
    ),
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
  return backends.filter(b => b.state !== 'maintenance' && b.port !== 0 && portMatches(frontend, b))
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
      return x.key === y?.key && x.health === y.health && x.state === y.state && x.weight === y.weight
    })
  )
}
