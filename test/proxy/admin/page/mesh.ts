/** Views of a mesh of any size, with traffic or with everything dead, for the page. */
import type { FlowEvent } from '../../../../proxy/model/flow-record.ts'
import type { ServiceTraffic, Traffic, TrafficRates } from '../../../../proxy/model/flows/traffic.ts'
import type { BackendView, ServiceView, Status } from '../../../../proxy/model/views.ts'
import { explanation, fixedViews, now, status } from '../fixture.ts'

export interface MeshOptions {
  readonly services: number
  readonly clusters?: number
  /** Of the names of clusters. */
  readonly prefix?: string
  readonly traffic?: boolean
  readonly dead?: boolean
  /** Nothing is wrong. */
  readonly calm?: boolean
}

const words = ['cart', 'catalogue', 'checkout', 'payments', 'search', 'sessions', 'orders', 'stock', 'mail', 'reports']
const namespaces = ['shop', 'default', 'media', 'data', 'platform']

export function meshViews(options: MeshOptions) {
  const { services: size, clusters = 3, prefix = 'cluster-', traffic = false, dead = false, calm = false } = options
  const names = Array.from({ length: clusters }, (_, i) => `${prefix}${i + 1}`)
  const services = Array.from({ length: size }, (_, i) => serviceOf(i, names, { dead, calm }))
  const inState = (state: string) => services.filter(({ condition }) => condition.state === state)
  const [unreachable, reduced, empty] = [inState('unreachable'), inState('reduced'), inState('empty')]
  const problem = (severity: 'error' | 'warning') => (service: ServiceView) => ({
    severity,
    code: severity === 'error' ? ('SERVICE_UNREACHABLE' as const) : ('SERVICE_REDUCED' as const),
    where: `${service.namespace}/${service.name}`,
    message: `${severity === 'error' ? 'no client can reach it: ' : ''}${service.condition.why}`,
  })
  const lost = dead ? names.slice(1) : []
  const shownStatus: Status = {
    ...status,
    components: dead
      ? status.components
      : status.components.map(each => ({
          ...each,
          state: 'ok',
          detail: each.detail.replace(/2 of 3.*/, '3 clusters'),
        })),
    clusters: names.map((name, i) => ({
      name,
      id: i + 1,
      local: i === 0,
      source: `kubernetes kind-${i + 1}`,
      link: lost.includes(name)
        ? { state: 'lost', since: now - 42_000, error: `connect ECONNREFUSED 10.${i}.0.1:6443`, staleAt: now + 558_000 }
        : { state: 'live', since: now - 3_600_000 },
      services: size,
      globalServices: size,
      backends: services.flatMap(each => each.backends).filter(({ cluster }) => cluster === name).length,
      changedAt: now - 12_000,
    })),
    services: { total: size, unreachable: unreachable.length, reduced: reduced.length, empty: empty.length },
    problems: [
      ...lost.map(where => ({
        severity: 'error' as const,
        code: 'CLUSTER_LOST' as const,
        where,
        message: 'its source does not answer: connect ECONNREFUSED',
      })),
      ...unreachable.slice(0, 20).map(problem('error')),
      ...reduced.slice(0, 20).map(problem('warning')),
    ],
  }
  return {
    status: shownStatus,
    services,
    views: fixedViews({
      status: () => shownStatus,
      services: () => services,
      service: (namespace, name) => services.find(s => s.namespace === namespace && s.name === name),
      explain: (namespace, name, from) => ({ ...explanation, namespace, name, client: from ?? '127.0.0.1' }),
      traffic: () => (traffic ? trafficOf(services, names) : { ...idle }),
      follow: (query, push) => {
        const [service = ''] = query.getAll('service')
        if (traffic) push([flowOf(service, 1), flowOf(service, 2), flowOf(service, 3)])
        return () => {}
      },
    }),
  }
}

const idle: Traffic = { now, node: 'node-1', historyMs: 5000, services: [], clusters: [], clients: [] }

function serviceOf(
  i: number,
  clusters: readonly string[],
  { dead, calm }: { dead: boolean; calm: boolean },
): ServiceView {
  const isReduced = !calm && (dead || i % 23 === 7)
  const isDead = !calm && (dead || i % 97 === 11)
  const backends = clusters.flatMap((cluster, c) =>
    (i + c) % 4 === 3
      ? []
      : Array.from({ length: 1 + ((i + c) % 3) }, (_, b): BackendView => {
          const down = isDead || (isReduced && b === 0 && c === 0)
          return {
            cluster,
            address: `10.${c + 1}.${i >> 8}.${(i + b) & 255}`,
            port: 8080,
            protocol: 'TCP',
            ports: ['http'],
            state: 'active',
            health: down ? 'down' : 'up',
            selected: !down || isDead,
            weight: 100,
            node: `node-${b + 1}`,
            zone: 'z1',
            ...(down ? { lastError: `connect ECONNREFUSED 10.${c + 1}.${i >> 8}.${(i + b) & 255}:8080` } : {}),
          }
        }),
  )
  const bad = backends.filter(({ health }) => health === 'down').length
  const state = bad === 0 ? 'ok' : bad === backends.length ? 'unreachable' : 'reduced'
  const why =
    state === 'unreachable' ? `every backend (${bad} down)` : `${bad} of ${backends.length} backends: ${bad} down`
  const suffix = i < words.length ? '' : `-${Math.floor(i / words.length)}`
  return {
    namespace: namespaces[i % namespaces.length] ?? '',
    name: `${words[i % words.length]}${suffix}`,
    condition: state === 'ok' ? { state } : { state, why },
    settings: { global: true, shared: true, affinity: i % 5 === 0 ? 'local' : 'none' },
    headless: false,
    frontends: [{ ip: `10.96.${i >> 8}.${i & 255}`, port: 80, protocol: 'TCP', name: 'http' }],
    backends,
    changedAt: now - 12_000,
  }
}

function rates(perSecond: number, failed: number): TrafficRates {
  return {
    perSecond,
    open: Math.round(perSecond * 3),
    failed,
    refused: 0,
    failedPerSecond: failed === 1 ? 1 : (perSecond * failed) / (1 - failed),
    refusedPerSecond: 0,
    dialP50: 0.4,
    dialP99: 1 + failed * 200,
    sentPerSecond: perSecond * 900,
    receivedPerSecond: perSecond * 21_000,
  }
}

function trafficOf(services: readonly ServiceView[], names: readonly string[]): Traffic {
  return {
    ...idle,
    services: services.slice(0, 2000).map(({ namespace, name, condition }, i): ServiceTraffic => {
      const perSecond = condition.state === 'unreachable' ? 0 : 120 / (1 + (i % 37) + 3 * Math.floor(i / 37))
      const failed = condition.state === 'ok' ? 0 : condition.state === 'reduced' ? 0.04 : 1
      const history = Array.from({ length: 60 }, (_, t) =>
        Math.round(perSecond * (3 + Math.sin(i + t / 6) + ((t * 7 + i) % 5) / 5)),
      )
      const ways = names.length === 1 ? names : names.slice(0, -1)
      const clusters = ways
        .filter((_name, n) => (i + n) % 3 > 0 || n === i % ways.length)
        .map((cluster, n) => ({ cluster, ...rates(perSecond / (1 + n), failed) }))
      return { namespace, name, ...rates(perSecond, failed), history, clusters }
    }),
    // The last cluster gets nothing.
    clusters: names.map((cluster, i) => ({
      cluster,
      ...rates(i === names.length - 1 && i > 0 ? 0 : 340 / (1 + 2 * i), i === 1 ? 0.01 : 0),
    })),
    clients: Array.from({ length: 7 }, (_, i) => ({
      address: `10.1.4.${i + 10}`,
      ...(i < 4 ? { namespace: 'shop', pod: `web-${i}` } : {}),
      flows: 600,
      perSecond: 90 / (i + 1),
      open: 12,
      failed: 0,
      refused: 0,
      sent: 1,
      received: 1,
      services: [0, i % 5, 2 + (i % 3)].flatMap(n => {
        const used = services[n]
        return used ? [{ service: `${used.namespace}/${used.name}`, flows: 40 / (1 + n) }] : []
      }),
    })),
  }
}

function flowOf(service: string, i: number): FlowEvent {
  const time = new Date(now - i * 1000).toISOString()
  const outcome = i === 2 ? 'failed' : 'forwarded'
  return {
    node_name: 'node-1',
    time,
    flow: {
      uuid: `flow-${i}`,
      time,
      verdict: i === 2 ? 'ERROR' : 'FORWARDED',
      IP: { source: '10.1.4.10', destination: '10.2.0.7', ipVersion: 'IPv4' },
      l4: { TCP: { source_port: 40_000 + i, destination_port: 8080 } },
      source: { namespace: 'shop', pod_name: `web-${i}` },
      destination: {},
      Type: 'L3_L4',
      node_name: 'node-1',
      traffic_direction: 'EGRESS',
      is_reply: false,
      Summary: 'TCP',
      starlane: {
        kind: 'connection',
        outcome,
        state: 'ended',
        service,
        backend: 'cluster-2/10.2.0.7:8080/TCP',
        attempts: 1,
        dial_ms: 0.4,
        ...(outcome === 'forwarded' ? { sent: 900, received: 21_000, duration_ms: 42 } : {}),
      },
    },
  }
}
