/**
 * What a decision costs: nanoseconds per `choose` with the four built-in plugins, by the number of backends, in a directory of
 * 10,000 frontends and 100,000 endpoints, and while breakers are open. Run: node --expose-gc bench/choose.ts
 */
import { type BalancerName, balancers, createBalancer } from '../proxy/balancer/balancers.ts'
import { type Chain, createChain } from '../proxy/chain/chain.ts'
import { loadPlugins } from '../proxy/chain/load.ts'
import { type Backend, type Backends, backendKey } from '../proxy/model/backend.ts'
import { systemClock } from '../proxy/model/clock.ts'
import type { Directory } from '../proxy/model/directory.ts'
import type { Flow } from '../proxy/model/flow.ts'
import { silentLog } from '../proxy/model/log.ts'
import { frontendKey, type GlobalService, type Settings } from '../proxy/model/service.ts'

const clusters = [
  { name: 'cluster-1', id: 1, local: true },
  { name: 'cluster-2', id: 2, local: false },
]
const settings: Settings = { global: true, shared: true, affinity: 'none', clusterOrder: [] }

function backendsOf(count: number, base: number): Backends {
  return Object.freeze(
    Array.from({ length: count }, (_, i): Backend => {
      const n = base + i
      const cluster = i % 2 === 0 ? 'cluster-1' : 'cluster-2'
      const address = `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`
      return Object.freeze({
        key: backendKey(cluster, address, 8080, 'TCP'),
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

function serviceOf(n: number, backends: Backends, given: Partial<Settings> = {}): GlobalService {
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
    size: services.length,
    hasNamespace: () => true,
    synced: true,
    changedAt: 0,
    onChange: () => () => {},
  }
}

async function chainOf(
  services: readonly GlobalService[],
  balancer: BalancerName,
  uses: readonly string[],
): Promise<Chain> {
  const host = { clusters: () => clusters, clock: systemClock, random: Math.random, log: silentLog }
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

let flows = 0
function flowTo(service: GlobalService | undefined, client: number): Flow {
  const [frontend] = service?.frontends ?? []
  if (!service || !frontend) throw new Error('no frontend')
  return { id: ++flows, client: { address: `10.200.0.${client & 255}`, port: 1 }, service, frontend, tried: [] }
}

const sampleMs = 100
const samples = 7

/** Nanoseconds per choice and the bytes it allocates: the best of some samples, since the machine has other work. */
function measure(chain: Chain, asked: readonly Flow[]): { ns: number; bytes: number } {
  const sample = () => {
    globalThis.gc?.()
    const before = process.memoryUsage().heapUsed
    const start = performance.now()
    let choices = 0
    let ms = 0
    for (; ms < sampleMs; ms = performance.now() - start) {
      for (const one of asked) chain.choose(one)
      choices += asked.length
    }
    return { ns: (ms * 1e6) / choices, bytes: (process.memoryUsage().heapUsed - before) / choices }
  }
  sample()
  return Array.from({ length: samples }, sample).reduce((best, one) => (one.ns < best.ns ? one : best))
}

function print(what: string, { ns, bytes }: { ns: number; bytes: number }): void {
  console.log(
    `${what.padEnd(66)} ${ns.toFixed(0).padStart(7)} ns ${globalThis.gc ? `${bytes.toFixed(0).padStart(5)} B` : ''}`,
  )
}

const builtIns = ['tenancy', 'circuit-breaker', 'affinity', 'session-affinity']
const clients = [...Array(64).keys()]
const plugins: [what: string, uses: string[]][] = [
  ['no plugin', []],
  ['the four built-in plugins', builtIns],
]

for (const [what, uses] of plugins) {
  for (const size of [3, 100, 1000]) {
    const service = serviceOf(0, backendsOf(size, 0), { affinity: 'local' })
    const chain = await chainOf([service], 'round-robin', uses)
    print(
      `${what}, ${size} backends, affinity local`,
      measure(
        chain,
        clients.map(n => flowTo(service, n)),
      ),
    )
    await chain.close()
  }
}
for (const balancer of Object.keys(balancers) as BalancerName[]) {
  const service = serviceOf(0, backendsOf(1000, 0))
  const chain = await chainOf([service], balancer, builtIns)
  print(
    `four plugins, 1000 backends, ${balancer}`,
    measure(
      chain,
      clients.map(n => flowTo(service, n)),
    ),
  )
  await chain.close()
}
for (const size of [3, 100, 1000]) {
  const service = serviceOf(0, backendsOf(size, 0), { sessionAffinity: { timeoutMs: 10_800_000 } })
  const chain = await chainOf([service], 'round-robin', builtIns)
  const asked = clients.map(n => flowTo(service, n))
  for (const one of asked) chain.connecting(one, chain.choose(one).backend as Backend)
  print(`four plugins, ${size} backends, clients that stay`, measure(chain, asked))
  await chain.close()
}
{
  const service = serviceOf(0, backendsOf(1000, 0), { affinity: 'local' })
  const chain = await chainOf([service], 'round-robin', builtIns)
  const asked = clients.map(n => flowTo(service, n))
  for (let i = 0; i < 50; i++) {
    const chosen = service.backends[i] as Backend
    chain.connecting(asked[0] as Flow, chosen)
    chain.result(asked[0] as Flow, chosen, { outcome: 'refused', ms: 1 })
  }
  print('four plugins, 1000 backends, 10 of them open', measure(chain, asked))
  const [first = ''] = service.backends.map(({ key }) => key)
  print(
    'four plugins, 1000 backends, second attempts',
    measure(
      chain,
      asked.map(one => ({ ...one, tried: [first] })),
    ),
  )
  await chain.close()
}
{
  const services = Array.from({ length: 10_000 }, (_, n) =>
    serviceOf(n, backendsOf(10, n * 10), n % 2 ? { affinity: 'local' } : {}),
  )
  const start = performance.now()
  const chain = await chainOf(services, 'round-robin', builtIns)
  const asked = services.map((service, n) => flowTo(service, n))
  for (const one of asked) chain.choose(one)
  console.log(
    `10,000 frontends, 100,000 endpoints: first choice in each, all together ${(performance.now() - start).toFixed(0)} ms`,
  )
  print('four plugins, 10,000 frontends in turn', measure(chain, asked))
  await chain.close()
}
