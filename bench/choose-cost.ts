/**
 * What a decision costs: nanoseconds per `choose` with the four built-in plugins, by the number of backends, in a directory of
 * 10,000 frontends and 100,000 endpoints, and while breakers are open. Run: node --expose-gc bench/choose-cost.ts
 */
import { type BalancerName, balancers } from '../proxy/balancer/balancers.ts'
import type { Backend } from '../proxy/model/backend.ts'
import type { Flow } from '../proxy/model/flow.ts'
import { backendsOf, builtIns, chainOf, flowTo, measure, serviceOf } from './choose-fixture.ts'

function print(what: string, { ns, bytes }: { ns: number; bytes: number }): void {
  console.log(
    `${what.padEnd(66)} ${ns.toFixed(0).padStart(7)} ns ${globalThis.gc ? `${bytes.toFixed(0).padStart(5)} B` : ''}`,
  )
}

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
