/**
 * Cost of `choose`: nanoseconds and bytes per call with the four built-in plugins, by number of backends and by balancer, with
 * open circuit breakers, and in a directory of 10,000 frontends and 100,000 endpoints. Run: npm run bench:choose
 */
import { type BalancerName, balancers } from '../proxy/balancer/balancers.ts'
import type { Backend } from '../proxy/model/backend.ts'
import type { Flow } from '../proxy/model/flow.ts'
import { commandLine } from '../scripts/command-line.ts'
import { backendsOf, builtIns, chainOf, flowTo, measure, serviceOf } from './choose-fixture.ts'

commandLine(import.meta.url, {})

function print(label: string, { ns, bytes }: { ns: number; bytes: number }): void {
  console.log(
    `${label.padEnd(66)} ${ns.toFixed(0).padStart(7)} ns ${globalThis.gc ? `${bytes.toFixed(0).padStart(5)} B` : ''}`,
  )
}

const clients = [...Array(64).keys()]
const plugins: [label: string, uses: string[]][] = [
  ['no plugin', []],
  ['the four built-in plugins', builtIns],
]

for (const [label, uses] of plugins) {
  for (const size of [3, 100, 1000]) {
    const service = serviceOf(0, backendsOf(size, 0), { affinity: 'local' })
    const chain = await chainOf([service], 'round-robin', uses)
    print(
      `${label}, ${size} backends, affinity local`,
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
  const flows = clients.map(n => flowTo(service, n))
  for (const one of flows) chain.connecting(one, chain.choose(one).backend as Backend)
  print(`four plugins, ${size} backends, session affinity`, measure(chain, flows))
  await chain.close()
}
{
  const service = serviceOf(0, backendsOf(1000, 0), { affinity: 'local' })
  const chain = await chainOf([service], 'round-robin', builtIns)
  const flows = clients.map(n => flowTo(service, n))
  for (let i = 0; i < 50; i++) {
    const chosen = service.backends[i] as Backend
    chain.connecting(flows[0] as Flow, chosen)
    chain.result(flows[0] as Flow, chosen, { outcome: 'refused', ms: 1 })
  }
  print('four plugins, 1000 backends, 10 open breakers', measure(chain, flows))
  const [first = ''] = service.backends.map(({ key }) => key)
  print(
    'four plugins, 1000 backends, second attempts',
    measure(
      chain,
      flows.map(one => ({ ...one, tried: [first] })),
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
  const flows = services.map((service, n) => flowTo(service, n))
  for (const one of flows) chain.choose(one)
  console.log(
    `10,000 frontends, 100,000 endpoints: first choose of every frontend, ${(performance.now() - start).toFixed(0)} ms`,
  )
  print('four plugins, 10,000 frontends in turn', measure(chain, flows))
  await chain.close()
}
