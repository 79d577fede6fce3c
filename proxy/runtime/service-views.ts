/** The JSON views of services. */
import type { Chain } from '../chain/chain.ts'
import type { Backend } from '../model/backend.ts'
import { type GlobalService, proxyNameOf, type Settings } from '../model/service.ts'
import type { BackendView, ServiceView, TunnelView, UnderlayView } from '../model/views.ts'
import { conditionOf } from './status/conditions.ts'

export function serviceView(
  service: GlobalService,
  chain: Chain,
  isRefusing: (frontendKey: string) => boolean,
  lastError: (destination: string) => string | undefined,
  tunnelsTo: (cluster: string) => readonly TunnelView[] | undefined = () => undefined,
  underlayTo: (cluster: string, address: string) => UnderlayWay | undefined = () => undefined,
): ServiceView {
  const selected = chain.selected(service)
  const { namespace, name, settings, frontends, backends, parked, changedAt, local } = service
  const proxyName = local && proxyNameOf(local)
  return {
    namespace,
    name,
    condition: conditionOf(service),
    settings: settingsView(settings),
    headless: local?.headless ?? false,
    ...(local?.externalName === undefined ? {} : { externalName: local.externalName }),
    ...(proxyName === undefined ? {} : { proxyName }),
    frontends: frontends.map(({ key, ip, port, protocol, name, declared }) => ({
      ip,
      port,
      protocol,
      name,
      ...(declared === undefined ? {} : { declared }),
      ...(isRefusing(key) ? { refusing: true as const } : {}),
    })),
    backends: [...backends, ...parked].map(backend =>
      backendView(
        backend,
        selected.has(backend.key),
        {
          ...chain.notes(service, backend),
          ...tunnelNote(tunnelsTo(backend.cluster)),
          ...underlayNote(underlayTo(backend.cluster, backend.address)),
        },
        lastError(backend.destination),
      ),
    ),
    changedAt,
  }
}

/** The way to a backend behind gateways is as good as its best tunnel. */
function tunnelNote(tunnels: readonly TunnelView[] | undefined): NonNullable<BackendView['notes']> {
  if (!tunnels) return {}
  const order: readonly TunnelView['state'][] = ['open', 'connecting', 'suspect', 'lost']
  const [best] = tunnels.toSorted((a, b) => order.indexOf(a.state) - order.indexOf(b.state))
  if (!best) return { tunnel: { state: 'lost', detail: 'no gateway is known' } }
  return { tunnel: { state: best.state, detail: [best.gateway, best.error].filter(Boolean).join(': ') } }
}

/** A node that the underlay reaches, or why there is none. */
export type UnderlayWay = UnderlayView['peers'][number] | string

function underlayNote(way: UnderlayWay | undefined): NonNullable<BackendView['notes']> {
  return way === undefined ? {} : { underlay: wayNote(way) }
}

export function wayNote(way: UnderlayWay): { state: string; detail: string } {
  if (typeof way === 'string') return { state: 'none', detail: way }
  const { node, address, state, roundTripMs } = way
  const time = roundTripMs === undefined ? '' : `, ${roundTripMs.toFixed(1)} ms`
  return { state, detail: `${node} ${address}${time}` }
}

function settingsView(settings: Settings): ServiceView['settings'] {
  const {
    global,
    shared,
    affinity,
    clusterOrder,
    minHealthyLocal,
    clusterWeights,
    sessionAffinity,
    trafficDistribution,
  } = settings
  return {
    global,
    shared,
    affinity,
    ...(clusterOrder.length > 0 ? { clusterOrder } : {}),
    ...(minHealthyLocal ? { minHealthyLocal } : {}),
    ...(clusterWeights ? { clusterWeights } : {}),
    ...(sessionAffinity ? { sessionAffinityMs: sessionAffinity.timeoutMs } : {}),
    ...(trafficDistribution ? { trafficDistribution } : {}),
  }
}

function backendView(
  backend: Backend,
  selected: boolean,
  notes: NonNullable<BackendView['notes']>,
  lastError: string | undefined,
): BackendView {
  const { cluster, address, port, protocol, ports, state, health, weight, node, zone } = backend
  const all = backend.untested ? { ...notes, checks: { state: 'awaited' } } : notes
  return {
    cluster,
    address,
    port,
    protocol,
    ports,
    state,
    health,
    selected,
    weight,
    ...(node === undefined ? {} : { node }),
    ...(zone === undefined ? {} : { zone }),
    ...(lastError === undefined ? {} : { lastError }),
    ...(Object.keys(all).length > 0 ? { notes: all } : {}),
  }
}
