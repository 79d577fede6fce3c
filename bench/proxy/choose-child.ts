/**
 * Cost of `choose` in a directory of a given size, measured in a process of its own and printed as one line of JSON:
 *
 *     node --expose-gc bench/proxy/choose-child.ts FRONTENDS ASKED
 *
 * Chooses for ASKED of the frontends in turn, with the default plugins and ten endpoints behind each frontend.
 */
import { backendsOf, builtIns, chainOf, flowTo, measure, serviceOf } from '../choose-fixture.ts'

const [frontends = 10, asked = 10] = process.argv.slice(2).map(Number)
const perFrontend = 10

globalThis.gc?.()
const before = process.memoryUsage().heapUsed
const services = Array.from({ length: frontends }, (_, n) =>
  serviceOf(n, backendsOf(perFrontend, n * perFrontend), n % 2 ? { affinity: 'local' } : {}),
)
const chain = await chainOf(services, 'round-robin', builtIns)
const flows = services.map((service, n) => flowTo(service, n))
const begun = performance.now()
for (const flow of flows) chain.choose(flow)
const firstMs = performance.now() - begun
globalThis.gc?.()
const heapMb = (process.memoryUsage().heapUsed - before) / 2 ** 20

const step = Math.max(1, Math.floor(frontends / asked))
const { ns } = measure(
  chain,
  flows.filter((_, n) => n % step === 0),
)
await chain.close()
console.log(JSON.stringify({ ns, heapMb, firstMs }))
