/** The JSON views of the admin server: status, services, explanations. Computed on each call. */

import type { Metrics } from '../admin/metrics.ts'
import type { Views } from '../admin/views.ts'
import type { Admission } from '../admission/admission.ts'
import type { Chain } from '../chain/chain.ts'
import type { Config } from '../config/schema.ts'
import type { HealthMonitor } from '../health/monitor.ts'
import type { Mesh } from '../mesh/mesh.ts'
import { type Cidr, endpointText } from '../model/address.ts'
import type { Link } from '../model/cluster.ts'
import { type Problem, type Severity, severityOf } from '../model/error.ts'
import { type GlobalService, serviceKey } from '../model/service.ts'
import type { Json } from '../model/text/json.ts'
import type { Clock } from '../model/time/clock.ts'
import { inTurns } from '../model/time/turn.ts'
import type {
  ClusterView,
  ComponentView,
  Explanation,
  PluginView,
  PublisherView,
  ServiceView,
  Status,
} from '../model/views.ts'
import type { StateStore } from '../state/state-store.ts'
import type { WorkloadStore } from '../workloads/store.ts'
import type { ClusterList } from './cluster-list.ts'
import type { Recording } from './flows/recording.ts'
import type { Succession } from './handover/succession.ts'
import type { NameService } from './name-service.ts'
import type { L4Proxy } from './proxy.ts'
import type { Publication } from './publication.ts'
import type { TokenRenewals } from './renewal/token-renewals.ts'
import { serviceView, type UnderlayWay, wayNote } from './service-views.ts'
import { type ClusterSources, sourceText } from './sources/cluster-sources.ts'
import type { Certificates } from './status/certificates.ts'
import { examineInTurns, serviceConditions } from './status/conditions.ts'
import type { Tunnelling } from './tunnel/tunnelling.ts'
import type { UnderlayKeeper } from './underlay/keeper.ts'
import type { WriteBack } from './write-back.ts'

/** What this process does: everything, or only the gateway of its cluster. */
export type Role = 'all' | 'gateway'

/** The parts that run now; a reload replaces some of them. */
export interface RunningParts {
  readonly config: Config
  readonly clusterList: ClusterList
  readonly sources: ClusterSources
  readonly store: StateStore
  readonly succession: Succession
  readonly started: boolean
  /** Draining: no new flows, those in progress may end. */
  readonly stopping: boolean
  /** Another process serves in its place. */
  readonly handedOver: boolean
  readonly admission: Admission
  readonly workloads: WorkloadStore
  readonly mesh: Mesh
  readonly chain: Chain
  readonly health: HealthMonitor
  readonly proxy: L4Proxy
  readonly names: NameService
  readonly recording: Recording
  readonly certificates: Certificates
  readonly tunnelling: Tunnelling
  readonly underlay: UnderlayKeeper | undefined
  readonly role: Role
  readonly writeBack: WriteBack
  readonly tokens: TokenRenewals
  readonly publication: Publication
}

export interface ViewParts {
  readonly parts: () => RunningParts
  readonly version: string
  readonly startedAt: number
  /** The name of the Pod. */
  readonly instance: string | undefined
  readonly clock: Clock
  readonly metrics: () => Pick<Metrics, 'text' | 'openMetrics'>
  readonly rehearse: Views['rehearse']
}

export function createViews({ parts, version, startedAt, instance, clock, metrics, rehearse }: ViewParts): Views {
  const directory = () => parts().mesh.directory
  return {
    status: () => statusOf(parts(), { version, startedAt, now: clock.wall() }),
    examine: () => examineInTurns(directory()),
    services: async function* () {
      for await (const service of inTurns([...directory().services()].sort(byName))) yield viewOf(service, parts())
    },
    service: (namespace, name) => {
      const service = directory().service(serviceKey(namespace, name))
      return service && viewOf(service, parts())
    },
    explain: (namespace, name, from = '127.0.0.1') => {
      const service = directory().service(serviceKey(namespace, name))
      return service && explained(service, from, parts())
    },
    addressOf: pod => parts().workloads.addressesOf(pod)[0],
    dns: (name, type, from = '127.0.0.1') => parts().names.responder.explain(name, type, { address: from, port: 0 }),
    traffic: () => parts().recording.traffic(),
    flows: query => parts().recording.past(query),
    follow: (query, push) => parts().recording.follow(query, push),
    config: () => shownConfig(parts().config),
    metrics: () => metrics().text(),
    openMetrics: () => metrics().openMetrics(),
    rehearse,
    ready: () => ({
      ready: isReady(parts()),
      stopping: parts().stopping,
      handedOver: parts().handedOver,
      instance,
      waiting: waitingFor(parts()),
      unsafe: parts()
        .proxy.exposures()
        .map(({ where, message }) => `${where}: ${message}`),
    }),
  }
}

function explained(service: GlobalService, from: string, parts: RunningParts): Explanation {
  const { chain, proxy } = parts
  const explanation = chain.explainService({ address: from, port: 0 }, service)
  const offloads = new Map(service.frontends.map(frontend => [frontend.key, proxy.wayText(frontend, service)]))
  const backends = new Map(service.backends.map(backend => [backend.key, backend]))
  const frontends = explanation.frontends.map(one => {
    const offload = offloads.get(one.frontend)
    const ways = one.candidates.flatMap((key): [string, string][] => {
      const backend = backends.get(key)
      const way = backend && underlayWay(backend.cluster, backend.address, parts)
      if (way === undefined) return []
      const { state, detail } = wayNote(way)
      return [[key, `underlay ${state}: ${detail}`]]
    })
    return {
      ...one,
      ...(offload === undefined ? {} : { offload }),
      ...(ways.length > 0 && { ways: Object.fromEntries(ways) }),
    }
  })
  return { ...explanation, frontends }
}

/** Undefined for a cluster that is not reached through the underlay. */
function underlayWay(cluster: string, address: string, { config, underlay }: RunningParts): UnderlayWay | undefined {
  const route = config.clusters.find(({ name }) => name === cluster)?.route
  return route === 'underlay' ? (underlay?.wayTo(cluster, address) ?? 'no underlay') : undefined
}

function viewOf(service: GlobalService, parts: RunningParts): ServiceView {
  const { chain, proxy, health, tunnelling } = parts
  return serviceView(
    service,
    chain,
    key => proxy.isRefusing(key),
    destination => health.lastError(destination),
    cluster => tunnelling.tunnels(cluster),
    (cluster, address) => underlayWay(cluster, address, parts),
  )
}

function byName(a: GlobalService, b: GlobalService): number {
  return a.key < b.key ? -1 : 1
}

function statusOf(parts: RunningParts, fixed: Pick<Status, 'version' | 'startedAt' | 'now'>): Status {
  const {
    config,
    clusterList,
    admission,
    mesh,
    chain,
    names,
    proxy,
    recording,
    writeBack,
    tokens,
    publication,
    tunnelling,
    underlay,
  } = parts
  const publisher = publication.view()
  const { counts, problems: ofServices } = serviceConditions(mesh.directory)
  const gateway = tunnelling.gatewayView()
  const problems = [
    ...lostClusters(clusterList, mesh),
    ...ofServices,
    ...parts.certificates.problems(),
    ...clusterList.problems(),
    ...mesh.problems(),
    ...parts.store.problems(),
    ...parts.succession.problems(),
    ...admission.problems(),
    ...names.problems(),
    ...proxy.failures(),
    ...proxy.exposures(),
    ...(proxy.steering?.problems() ?? []),
    ...proxy.rings(),
    ...chain.faults(),
    ...chain.findings(),
    ...recording.problems(),
    ...writeBack.problems(),
    ...tokens.problems(),
    ...publication.problems(),
    ...tunnelling.problems(),
    ...(underlay?.problems() ?? []),
  ]
  return {
    ...fixed,
    cluster: config.cluster,
    ready: isReady(parts),
    stopping: parts.stopping,
    waiting: waitingFor(parts),
    dns: {
      address: dnsAddress(parts),
      listening: names.responder.address !== undefined,
      domain: config.dns.domain,
      clusterset: config.dns.clusterset,
    },
    components: componentsOf(parts, counts),
    services: counts,
    ...(publisher ? { publisher } : {}),
    ...(gateway ? { gateway } : {}),
    ...(underlay ? { underlay: underlay.view() } : {}),
    clusters: clusterList.clusters.map(cluster => clusterView(cluster, parts)),
    plugins: pluginsOf(chain),
    problems: problems
      .map(problem => ({ ...problem, severity: severityOf(problem) }))
      .sort((a, b) => order[a.severity] - order[b.severity]),
  }
}

const order: Readonly<Record<Severity, number>> = { error: 0, warning: 1 }

/** A cluster that is lost, or stale, with what its source says. */
function lostClusters({ clusters }: ClusterList, mesh: Mesh): Problem[] {
  return clusters.flatMap(({ name }) => {
    const link = mesh.link(name)
    return 'error' in link && link.error ? [{ code: 'CLUSTER_LOST', where: name, message: link.error.message }] : []
  })
}

function isReady(parts: RunningParts): boolean {
  return parts.started && !parts.stopping && outages(parts).length === 0
}

/** The parts without which no client is served. */
function outages({ names, proxy, role, tunnelling }: RunningParts): string[] {
  if (role === 'gateway') return tunnelling.gatewayFailure ?? []
  const [unbound] = proxy.failures()
  return [
    names.responder.address === undefined ? `DNS${names.failure ? `: ${names.failure.message}` : ''}` : [],
    proxy.listening === 0 && unbound ? `listeners: ${unbound.message}` : [],
  ].flat()
}

/** What Starlane waits for before it is ready, or before it has stopped; once it has started, what does not work. */
function waitingFor(parts: RunningParts): string[] {
  const { started, stopping, config, clusterList, mesh, proxy } = parts
  if (stopping) {
    const { connections, udpSessions } = proxy.stats()
    return [`${counted(connections, 'connection')} and ${counted(udpSessions, 'UDP session')} to end`]
  }
  if (started) return outages(parts)
  const sources = clusterList.clusters.flatMap(({ name }) => {
    const link = mesh.link(name)
    if (link.state === 'syncing') return [`source of ${name}`]
    return link.state === 'lost' && name === config.cluster && !mesh.directory.synced
      ? [`source of ${name}: ${link.error.message}`]
      : []
  })
  if (sources.length > 0) return sources
  if (parts.role === 'gateway') return outages(parts)
  return [outages(parts), proxy.listening + proxy.refusing === 0 ? 'listeners' : []].flat()
}

function componentsOf(parts: RunningParts, services: Status['services']): ComponentView[] {
  const { config, clusterList, admission, mesh, chain, names, proxy, health, publication, tunnelling, role } = parts
  const publisher = publication.view()
  return [
    sourcesView(clusterList, mesh, admission),
    ...(role === 'gateway' ? [] : [dnsView(config, names), proxyView(proxy), ...offloadView(proxy)]),
    healthView(config, health, services),
    pluginsView(chain),
    ...(publisher ? [publisherView(publisher)] : []),
    ...tunnelling.components(),
    ...(parts.underlay ? [parts.underlay.component()] : []),
  ]
}

function sourcesView({ clusters }: ClusterList, mesh: Mesh, admission: Admission): ComponentView {
  const stateOf = ({ name }: { readonly name: string }) => mesh.link(name).state
  const away = clusters.filter(one => stateOf(one) !== 'live').map(({ name }) => name)
  const remembered = clusters.filter(one => stateOf(one) === 'remembered').map(({ name }) => name)
  const isLost = clusters.some(({ name }) => 'error' in mesh.link(name))
  const problems = mesh.problems().length + admission.problems().length
  const count = `${clusters.length - away.length}/${clusters.length} clusters live`
  const detail = [
    count,
    away.length > 0 ? `not live: ${away.join(', ')}` : [],
    remembered.length > 0 ? `from memory: ${remembered.join(', ')}` : [],
    problems > 0 ? `${problems} problem${problems === 1 ? '' : 's'} in their data` : [],
  ].flat()
  const state = isLost ? 'error' : away.length + problems > 0 ? 'warning' : 'ok'
  return { name: 'Sources', state, detail: detail.join('; ') }
}

function dnsView(config: Config, names: NameService): ComponentView {
  const { failure } = names
  if (failure) return { name: 'DNS', state: 'error', detail: failure.message }
  const address = names.responder.address
  if (!address) return { name: 'DNS', state: 'error', detail: 'not listening yet' }
  const [problem] = names.responder.problems()
  const detail = `${endpointText(address.address, address.port)}, ${config.dns.domain}`
  return problem
    ? { name: 'DNS', state: 'warning', detail: `${detail}; ${problem.message}` }
    : { name: 'DNS', state: 'ok', detail }
}

function proxyView(proxy: L4Proxy): ComponentView {
  const { listeners, connections, udpSessions } = proxy.stats()
  const failures = proxy.failures()
  const { refusing } = proxy
  const closed = refusing > 0 ? `, ${counted(refusing, 'frontend')} without backends refusing` : ''
  const exposed = proxy.exposures().length > 0 ? '; other sockets can be reached on its addresses' : ''
  const pumps = proxy.pumps > 1 ? `, ${proxy.pumps} pumps` : ''
  const detail = `${proxy.engine}${pumps}, ${counted(listeners, 'listener')}${closed}, ${counted(connections, 'connection')}, ${counted(udpSessions, 'UDP session')}${exposed}`
  if (failures.length === 0) return { name: 'Proxy', state: 'ok', detail }
  return {
    name: 'Proxy',
    state: 'error',
    detail: `${detail}; ${counted(failures.length, 'frontend')} cannot be bound`,
  }
}

function offloadView({ steering }: L4Proxy): ComponentView[] {
  if (!steering) return []
  const problems = steering.problems()
  const [first] = problems
  const failed = problems.some(problem => severityOf(problem) === 'error')
  const straight = steering.direct > 0 ? ` (${steering.direct} straight to backends)` : ''
  const led = `the kernel leads clients of ${counted(steering.size, 'frontend')}${straight} in ${steering.where}`
  const detail = [...(steering.active ? [led] : []), ...(first ? [first.message] : [])].join('; ')
  return [{ name: 'Offload', state: failed ? 'error' : first ? 'warning' : 'ok', detail: detail || 'not started yet' }]
}

function healthView(config: Config, health: HealthMonitor, services: Status['services']): ComponentView {
  const { targets, down, ejected, backends, checks } = health.stats()
  const { type, interval, relax } = config.health.active
  const spared = checks.traffic > 0 ? `, ${checks.traffic} left out for traffic` : ''
  const watched =
    type === 'none'
      ? `no active checks; ${ejected} of ${counted(backends, 'backend')} ejected`
      : `${type} checks every ${interval / 1000}${relax > 1 ? `-${(interval * relax) / 1000}` : ''} s of ${counted(targets, 'address', 'addresses')}${spared}; ${counted(down, 'backend')} down, ${ejected} ejected`
  const { unreachable, reduced } = services
  const detail = [
    unreachable > 0 ? `${counted(unreachable, 'service')} unreachable` : [],
    reduced > 0 ? `${counted(reduced, 'service')} reduced` : [],
    watched,
  ].flat()
  const well = type === 'none' ? 'disabled' : 'ok'
  const state = unreachable > 0 ? 'error' : reduced > 0 ? 'warning' : well
  return { name: 'Health', state, detail: detail.join('; ') }
}

function pluginsView(chain: Chain): ComponentView {
  const faults = chain.faults()
  const names = chain.resolved().map(({ name }) => name)
  const detail = names.length > 0 ? names.join(', ') : 'none configured'
  return faults[0]
    ? { name: 'Plugins', state: 'warning', detail: `${detail}; ${faults[0].where}: ${faults[0].message}` }
    : { name: 'Plugins', state: names.length > 0 ? 'ok' : 'disabled', detail }
}

/** A standby is fine: another process of the cluster publishes. */
function publisherView({ where, state, error, services, pending, copies }: PublisherView): ComponentView {
  const away = copies.filter(({ state }) => state === 'lost' || state === 'drained').map(({ cluster }) => cluster)
  const detail = [
    state === 'standby' ? 'standby; another process of this cluster publishes' : counted(services, 'service'),
    pending > 0 && state === 'publishing' ? `${counted(pending, 'key')} still to write` : [],
    copies.length > 0 ? `${counted(copies.length, 'cluster')} copied` : [],
    away.length > 0 ? `lost: ${away.join(', ')}` : [],
    error ?? `to ${where}`,
  ].flat()
  const isWell = state === 'publishing' || state === 'standby'
  return {
    name: 'Publisher',
    state: isWell ? (away.length > 0 ? 'warning' : 'ok') : state === 'lost' ? 'error' : 'warning',
    detail: detail.join('; '),
  }
}

function clusterView(
  cluster: Config['clusters'][number],
  { config, mesh, sources, tunnelling }: RunningParts,
): ClusterView {
  const { id = cluster.id, ...facts } = sources.facts(cluster.name)
  const { services, globalServices, backends, changedAt } = mesh.summary(cluster.name)
  const tunnels = tunnelling.tunnels(cluster.name)
  return {
    name: cluster.name,
    id,
    local: cluster.name === config.cluster,
    ...(cluster.tenant === undefined ? {} : { tenant: cluster.tenant }),
    source: sourceText(cluster.source),
    link: linkView(mesh.link(cluster.name)),
    ...(tunnels ? { tunnels } : {}),
    services,
    globalServices,
    backends,
    ...facts,
    ...(changedAt === undefined ? {} : { changedAt }),
  }
}

function linkView(link: Link): ClusterView['link'] {
  const { state, since } = link
  return {
    state,
    since,
    ...('error' in link && link.error ? { error: link.error.message } : {}),
    ...('staleAt' in link && link.staleAt !== undefined ? { staleAt: link.staleAt } : {}),
    ...('dropAt' in link && link.dropAt !== undefined ? { dropAt: link.dropAt } : {}),
  }
}

export function pluginsOf(chain: Chain): PluginView[] {
  const state = chain.state()
  return chain.resolved().map(plugin => {
    const pluginState = state[plugin.name]
    return pluginState === undefined ? plugin : { ...plugin, state: pluginState }
  })
}

function dnsAddress({ names, config }: RunningParts): string {
  const { address, port } = names.responder.address ?? config.dns.listen
  return endpointText(address, port)
}

/** Hides secrets: plugin options may contain some, and `tunnel.proxy`. */
export function shownConfig(config: Config): Json {
  const secret = /(secret|token|password|passwd|credential|apikey|api_key|private)/i
  const text = JSON.stringify(config, (key, value) =>
    secret.test(key) && (typeof value === 'string' || typeof value === 'number')
      ? '(not shown)'
      : isCidr(value)
        ? value.text
        : typeof value === 'string'
          ? value.replace(/^(https?:\/\/)[^/@]*@/, '$1(not shown)@')
          : value,
  )
  return JSON.parse(text)
}

function isCidr(value: unknown): value is Cidr {
  return typeof value === 'object' && value !== null && 'contains' in value && 'text' in value
}

function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
