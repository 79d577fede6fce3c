/**
 * Merges the services of one namespace and name in several clusters into a global service. Pure. The rules are Cilium's (1.3,
 * 1.5, 1.7), with two additions: cluster weights, and `internalTrafficPolicy: Local` restricted to this node.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Family, Protocol } from '../model/address.ts'
import type { Backend, Backends } from '../model/backend.ts'
import { listDelta } from '../model/lists/list-delta.ts'
import {
  type ClusterService,
  type Clusterset,
  type Frontend,
  frontendKey,
  type GlobalService,
  portMatches,
  type ServiceKey,
  type ServicePort,
  type Settings,
} from '../model/service.ts'
import { type Made, type MemberService, madeOf, type Verdicts } from './made-backends.ts'
import { balanced, repeatsPod } from './weights.ts'

export type { MemberService } from './made-backends.ts'

export interface MergeContext extends Verdicts {
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

/** A merge, and what the next one of the same service can take from it. */
export interface Merged {
  readonly service: GlobalService
  /** By member. */
  readonly made: readonly Made[]
  /** Undefined where a change of one backend may change others: it is then merged as a whole. */
  readonly plain: Plain | undefined
}

/** Each backend is in it once, with its own weight, and its frontends have those that match: no backend depends on another one. */
interface Plain {
  readonly settings: Settings
  readonly clusterset: Clusterset | undefined
  readonly frontendIps: readonly FrontendIp[]
  /** Of each frontend. */
  readonly families: readonly (Family | undefined)[]
}

/** `members`: in the order of the configured clusters, the local one first. */
export function merge(
  key: ServiceKey,
  members: readonly MemberService[],
  settings: Settings,
  context: MergeContext,
): GlobalService {
  return remerge(key, members, settings, context, undefined).service
}

/**
 * The same from an earlier merge of the service: the result is equal, and what has not changed is the same object. `isAt`: whether the
 * earlier merge has a backend at this address; by default it is looked for.
 */
export function remerge(
  key: ServiceKey,
  members: readonly MemberService[],
  settings: Settings,
  context: MergeContext,
  earlier: Merged | undefined,
  isAt?: (address: string) => boolean,
): Merged {
  const made = members.map((member, i) => madeOf(member, context, earlierOf(member, i, earlier)))
  const taking = members.map(member => member.local || (settings.global && member.exported))
  const local = members.find(member => member.local)?.service
  const all = listed(made, taking)
  const changed = earlier && changedIn(made, taking, earlier, { local, settings, context }, isAt)
  const adjusted = changed && adjust(changed, all)
  const backends = adjusted ? all : distinct(all)
  const frontends = adjusted ?? (local ? frontendsOf(key, local, backends, settings, context) : [])
  const first = members[0]?.service
  const merged: GlobalService = {
    key,
    namespace: first?.namespace ?? '',
    name: first?.name ?? '',
    local,
    members: members.filter((_, i) => taking[i]).map(({ service }) => service),
    settings,
    frontends,
    backends: adjusted ? backends : asBalanced(backends, frontends, settings),
    parked: taking.every(Boolean)
      ? nobody
      : made.flatMap(({ backends }, i) => (!taking[i] && members[i]?.exported ? backends : [])),
    changedAt: context.now,
  }
  const { clusterset } = context
  const service = Object.freeze(clusterset ? { ...merged, clusterset } : merged)
  return { service, made, plain: adjusted ? earlier?.plain : plainOf(service, local, context) }
}

const nobody: Backends = []

function earlierOf({ service }: MemberService, place: number, earlier: Merged | undefined): Made | undefined {
  const isSame = (one: Made | undefined) => one?.service.cluster === service.cluster
  const known = earlier?.made[place]
  return isSame(known) ? known : earlier?.made.find(isSame)
}

function listed(made: readonly Made[], taking: readonly boolean[]): Backends {
  return ([] as Backend[]).concat(...made.flatMap(({ backends }, i) => (taking[i] ? [backends] : [])))
}

function plainOf(
  service: GlobalService,
  local: ClusterService | undefined,
  { clusterset, frontendIps, portsFor, node }: MergeContext,
): Plain | undefined {
  const { settings, frontends, backends } = service
  if (settings.clusterWeights || portsFor) return undefined
  if (node !== undefined && local?.internalTrafficPolicy === 'Local') return undefined
  if (backends.some(({ alsoIn, demoted }) => alsoIn || demoted)) return undefined
  if (frontends.some(frontend => repeatsPod(frontend.backends))) return undefined
  const byIp = new Map(frontendIps.map(({ ip, family }) => [ip, family]))
  return { settings, clusterset, frontendIps, families: frontends.map(({ ip }) => byIp.get(ip)) }
}

/** A plain service of which some backends have come or gone, and nothing else that its frontends depend on has changed. */
interface Changed {
  readonly frontends: readonly Frontend[]
  readonly families: readonly (Family | undefined)[]
  /** Backends that the earlier service had. */
  readonly before: number
  readonly come: readonly Backend[]
  readonly hasPods: boolean
}

/** With more, all is merged again. */
const mostChanged = 16

function changedIn(
  made: readonly Made[],
  taking: readonly boolean[],
  { made: madeBefore, plain, service: before }: Merged,
  now: { readonly local: ClusterService | undefined; readonly settings: Settings; readonly context: MergeContext },
  isAt: ((address: string) => boolean) | undefined,
): Changed | undefined {
  const { local, settings, context } = now
  if (!plain || context.portsFor || made.length !== madeBefore.length) return undefined
  if (before.members.length !== taking.filter(Boolean).length) return undefined
  if (settings !== plain.settings && !isDeepStrictEqual(settings, plain.settings)) return undefined
  if (context.clusterset !== plain.clusterset || !sameIps(context.frontendIps, plain.frontendIps)) return undefined
  if (!sameSpec(before.local, local) || (context.node !== undefined && local?.internalTrafficPolicy === 'Local')) {
    return undefined
  }
  const come: Backend[] = []
  const gone: Backend[] = []
  let place = 0
  for (const [i, { backends, demoted }] of made.entries()) {
    const known = madeBefore[i] as Made
    if (!isSameMember(known, made[i] as Made) || demoted) return undefined
    if (!taking[i]) continue
    if (before.members[place++] !== known.service) return undefined
    if (known.backends === backends) continue
    const delta = listDelta(known.backends, backends)
    if (come.length + delta.come.length > mostChanged) return undefined
    come.push(...delta.come)
    gone.push(...delta.gone)
  }
  for (const [i, { destination, address }] of come.entries()) {
    const isReplaced = gone.some(one => one.destination === destination)
    if (!isReplaced && isAt?.(address) !== false && has(before.backends, destination)) return undefined
    if (come.some((other, at) => at < i && other.destination === destination)) return undefined
  }
  const isPod = ({ pod }: Backend) => pod !== undefined
  const { frontends } = before
  return { frontends, families: plain.families, before: before.backends.length, come, hasPods: come.some(isPod) }
}

function has(backends: Backends, destination: string): boolean {
  return backends.some(backend => backend.destination === destination)
}

function isSameMember(a: Made, b: Made): boolean {
  return a.service.cluster === b.service.cluster && a.local === b.local && a.network === b.network
}

/** The frontends with the backends of now. Undefined if one has several of a pod, which share a weight. */
function adjust(changed: Changed, all: Backends): readonly Frontend[] | undefined {
  const frontends = changed.frontends.map((frontend, i) => withBackends(frontend, changed, i, all))
  return changed.hasPods && frontends.some(({ backends }) => repeatsPod(backends)) ? undefined : frontends
}

/** The frontend with the backends of now. */
function withBackends(frontend: Frontend, { families, before, come }: Changed, place: number, all: Backends): Frontend {
  const { name, protocol } = frontend
  const isOffered = offeredTo({ name, protocol, family: families[place] })
  const hadAll = frontend.backends.length === before
  return Object.freeze({ ...frontend, backends: hadAll && come.every(isOffered) ? all : offeredOf(all, isOffered) })
}

function sameIps(a: readonly FrontendIp[], b: readonly FrontendIp[]): boolean {
  return a.length === b.length && a.every(({ ip, family }, i) => ip === b[i]?.ip && family === b[i]?.family)
}

/** Whether the frontends of both have the same ports, for the same backends. */
function sameSpec(a: ClusterService | undefined, b: ClusterService | undefined): boolean {
  if (a === b) return true
  if (!a || !b) return false
  return (
    !a.exported === !b.exported &&
    a.imported === b.imported &&
    a.derived === b.derived &&
    a.headless === b.headless &&
    a.internalTrafficPolicy === b.internalTrafficPolicy &&
    (a.ports === b.ports || isDeepStrictEqual(a.ports, b.ports))
  )
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
  return offeredOf(backends, offeredTo(frontend))
}

/** The same list where all are offered, as usual. A copy has no room to grow. */
function offeredOf(backends: Backends, isOffered: (backend: Backend) => boolean): Backends {
  return backends.every(isOffered) ? backends : backends.filter(isOffered).slice()
}

function offeredTo(frontend: {
  name: string
  protocol: Protocol
  family: Family | undefined
}): (backend: Backend) => boolean {
  return backend => backend.state !== 'maintenance' && backend.port !== 0 && portMatches(frontend, backend)
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
      if (x === y) return true
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
