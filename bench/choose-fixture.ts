/** Services, a chain and flows as in a running Starlane, for measuring the cost of `choose`. */
import { type BalancerName, createBalancer } from '../proxy/balancer/balancers.ts'
import { type Chain, createChain } from '../proxy/chain/chain.ts'
import { loadPlugins } from '../proxy/chain/loading/load.ts'
import { type Backend, type Backends, backendKey, destinationOf } from '../proxy/model/backend.ts'
import type { Directory } from '../proxy/model/directory.ts'
import type { Flow } from '../proxy/model/flow.ts'
import { silentLog } from '../proxy/model/log.ts'
import { frontendKey, type GlobalService, type Settings } from '../proxy/model/service.ts'
import { systemClock } from '../proxy/model/time/clock.ts'
import type { Workloads } from '../proxy/model/workloads/workloads.ts'

const clusters = [
  { name: 'cluster-1', id: 1, local: true },
  { name: 'cluster-2', id: 2, local: false },
]
const settings: Settings = { global: true, shared: true, affinity: 'none', clusterOrder: [] }

export function backendsOf(count: number, base: number): Backends {
  return Object.freeze(
    Array.from({ length: count }, (_, i): Backend => {
      const n = base + i
      const cluster = i % 2 === 0 ? 'cluster-1' : 'cluster-2'
      const address = `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`
      return Object.freeze({
        key: backendKey(cluster, address, 8080, 'TCP'),
        destination: destinationOf(undefined, address, 8080, 'TCP'),
        cluster,
        remote: cluster !== 'cluster-1',
        address,
        family: 4,
        port: 8080,
        protocol: 'TCP',
        ports: [],
        state: 'active',
        serving: true,
        health: 'up',
        weight: 100,
      })
    }),
  )
}

export function serviceOf(n: number, backends: Backends, given: Partial<Settings> = {}): GlobalService {
  const ip = `10.96.${(n >> 8) & 255}.${n & 255}`
  const key = `default/service-${n}`
  const frontend = {
    key: frontendKey(ip, 80, 'TCP'),
    service: key,
    ip,
    port: 80,
    protocol: 'TCP',
    name: '',
    backends,
  } as const
  return Object.freeze({
    ...{ key, namespace: 'default', name: `service-${n}`, local: undefined, members: [], parked: [], changedAt: 0 },
    ...{ settings: { ...settings, ...given }, frontends: [Object.freeze(frontend)], backends },
  })
}

function directoryOf(services: readonly GlobalService[]): Directory {
  return {
    service: key => services.find(service => service.key === key),
    services: () => services.values(),
    servicesAt: () => [],
    size: services.length,
    hasNamespace: () => true,
    hasPod: () => false,
    synced: true,
    changedAt: 0,
    onChange: () => () => {},
  }
}

export async function chainOf(
  services: readonly GlobalService[],
  balancer: BalancerName,
  uses: readonly string[],
  workloads?: Workloads,
): Promise<Chain> {
  const host = {
    ...{ clusters: () => clusters, clock: systemClock, random: Math.random, log: silentLog },
    ...(workloads && { workloads }),
  }
  const request = { uses: uses.map(use => ({ use })), folder: process.cwd(), placeOf: () => 'bench', host }
  const { plugins, errors } = await loadPlugins(request)
  if (errors[0]) throw errors[0]
  return createChain({
    plugins,
    balancer: openFlows => createBalancer(balancer, { random: Math.random, openFlows }),
    directory: directoryOf(services),
    clock: systemClock,
    log: silentLog,
  })
}

let lastFlowId = 0
export function flowTo(service: GlobalService | undefined, client: number): Flow {
  const [frontend] = service?.frontends ?? []
  if (!service || !frontend) throw new Error('no frontend')
  return { id: ++lastFlowId, client: { address: `10.200.0.${client & 255}`, port: 1 }, service, frontend, tried: [] }
}

const sampleMs = 100
const samples = 7

/** Nanoseconds and allocated bytes per call of `choose`: the best of several samples, since the machine has other work. */
export function measure(chain: Chain, flows: readonly Flow[]): { ns: number; bytes: number } {
  const sample = () => {
    globalThis.gc?.()
    const before = process.memoryUsage().heapUsed
    const start = performance.now()
    let calls = 0
    let ms = 0
    for (; ms < sampleMs; ms = performance.now() - start) {
      for (const flow of flows) chain.choose(flow)
      calls += flows.length
    }
    return { ns: (ms * 1e6) / calls, bytes: (process.memoryUsage().heapUsed - before) / calls }
  }
  sample()
  return Array.from({ length: samples }, sample).reduce((best, one) => (one.ns < best.ns ? one : best))
}

export const builtIns = ['tenancy', 'circuit-breaker', 'affinity', 'session-affinity']
