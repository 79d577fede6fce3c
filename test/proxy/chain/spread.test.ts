/** The attempts of one flow over clusters and zones. */
import fc from 'fast-check'
import t, { type Test } from 'tap'
import affinity from '../../../plugins/affinity/index.ts'
import circuitBreaker from '../../../plugins/circuit-breaker/index.ts'
import sessionAffinity from '../../../plugins/session-affinity/index.ts'
import type { Chain } from '../../../proxy/chain/chain.ts'
import type { Backend, Backends } from '../../../proxy/model/backend.ts'
import type { GlobalService, Settings } from '../../../proxy/model/service.ts'
import { keep } from '../../../proxy/plugin.ts'
import { hooks, plugin, startChain } from '../../support/chain.ts'
import { backend, flow, globalService } from '../../support/model.ts'

const pods = (cluster: string, count: number, given: Partial<Backend> = {}): Backend[] =>
  Array.from({ length: count }, (_, i) => backend({ address: `10.${cluster.slice(-1)}.0.${i + 1}`, cluster, ...given }))

/** The clusters, and zones if there are any, of the attempts of a flow; all backends fail but those that are `well`. */
function attempts(chain: Chain, service: GlobalService, well: (backend: Backend) => boolean, most = 3): string[] {
  const tried: string[] = []
  const went: string[] = []
  while (tried.length < most) {
    const { backend: chosen, refusal } = chain.choose(flow(service, { tried: [...tried] }))
    went.push(chosen ? [chosen.cluster, chosen.zone].filter(Boolean).join(' ') : `refused by ${refusal?.code}`)
    if (!chosen || well(chosen)) break
    tried.push(chosen.key)
  }
  return went
}

const localFirst = (t: Test, given: Parameters<typeof startChain>[1] = {}) =>
  startChain(t, { plugins: [plugin(affinity)], ...given })

t.test('four dead local pods do not use up the attempts while a remote one waits', async t => {
  const service = globalService({
    backends: [...pods('cluster-1', 4), ...pods('cluster-2', 1)],
    settings: { affinity: 'local' },
  })
  t.same(
    attempts(localFirst(t), service, b => b.remote),
    ['cluster-1', 'cluster-1', 'cluster-2'],
  )
  const twice = localFirst(t, { attempts: () => 2 })
  t.same(
    attempts(twice, service, b => b.remote, 2),
    ['cluster-1', 'cluster-2'],
    'the last attempt is made elsewhere',
  )
})

t.test('with more attempts each cluster has its turn, and then the first one again', async t => {
  const service = globalService({
    backends: [...pods('cluster-1', 5), ...pods('cluster-2', 3), ...pods('cluster-3', 1)],
    settings: { affinity: 'local', clusterOrder: ['cluster-2', 'cluster-3'] },
  })
  const chain = localFirst(t, { attempts: () => 9 })
  const all = attempts(chain, service, () => false, 10)
  t.same(all.slice(0, 5), ['cluster-1', 'cluster-1', 'cluster-2', 'cluster-2', 'cluster-3'])
  t.same(all.slice(5, 9).sort(), ['cluster-1', 'cluster-1', 'cluster-1', 'cluster-2'], 'none is left out')
  t.equal(all[9], 'refused by no-backend')
})

t.test('a law is not loosened', async t => {
  const home = hooks('home', { candidates: (_flow, backends) => keep(backends, b => !b.remote) }, { onError: 'refuse' })
  const service = globalService({
    backends: [...pods('cluster-1', 4), ...pods('cluster-2', 4)],
    settings: { affinity: 'local' },
  })
  for (const plugins of [
    [home, plugin(affinity)],
    [plugin(affinity), home],
  ]) {
    const chain = startChain(t, { plugins, attempts: () => 4 })
    t.same(
      attempts(chain, service, () => false, 4),
      Array(4).fill('cluster-1'),
    )
  }
})

t.test('only backends that are ready are worth leaving for', async t => {
  for (const given of [
    { health: 'down' },
    { health: 'ejected' },
    { state: 'terminating' },
    { weight: 0 },
  ] satisfies Partial<Backend>[]) {
    const service = globalService({
      backends: [...pods('cluster-1', 4), ...pods('cluster-2', 1, given)],
      settings: { affinity: 'local' },
    })
    t.same(
      attempts(localFirst(t), service, () => false),
      Array(3).fill('cluster-1'),
      JSON.stringify(given),
    )
  }
})

t.test('within a cluster attempts leave a zone', async t => {
  const zoned = [...pods('cluster-1', 4, { zone: 'a' }), backend({ address: '10.1.9.1', zone: 'b' })]
  const chain = localFirst(t)
  t.same(
    attempts(chain, globalService({ backends: zoned }), () => false),
    ['cluster-1 a', 'cluster-1 a', 'cluster-1 b'],
  )
  const both = globalService({ backends: [...zoned, ...pods('cluster-2', 1)], settings: { affinity: 'local' } })
  t.same(
    attempts(chain, both, () => false),
    ['cluster-1 a', 'cluster-1 a', 'cluster-2'],
    'another cluster comes first',
  )
})

t.test('a backend that left the list still counts for its cluster', async t => {
  const service = globalService({
    backends: [...pods('cluster-1', 2), ...pods('cluster-2', 1)],
    settings: { affinity: 'local' },
  })
  const tried = ['cluster-1/10.1.7.1:8080/TCP', 'cluster-1/10.1.7.2:8080/TCP']
  t.equal(localFirst(t).choose(flow(service, { tried })).backend?.cluster, 'cluster-2')
})

t.test('an explanation shows the further attempts', async t => {
  const backends = [...pods('cluster-1', 3), ...pods('cluster-2', 1)]
  const service = globalService({ backends, settings: { affinity: 'local' } })
  const chain = localFirst(t)
  const keys = backends.map(({ key }) => key)
  const [frontend] = chain.explainService({ address: '10.0.0.7', port: 0 }, service).frontends
  t.same(frontend?.retries, [
    { attempt: 2, failed: keys[0], candidates: keys.slice(1, 3), moved: false },
    { attempt: 3, failed: keys[1], candidates: keys.slice(3), moved: true },
  ])
  const { steps } = chain.explain(flow(service, { tried: keys.slice(0, 2) }))
  t.match(steps[1], { step: 'spread', left: 1, removed: [{ backend: keys[2] }] })
})

t.test('three attempts reach a healthy backend when all failures are in one cluster that laws allow', async t => {
  const clusters = ['cluster-1', 'cluster-2', 'cluster-3']
  const someService = fc.record({
    counts: fc.tuple(fc.nat(5), fc.nat(5), fc.nat(5)),
    /** In the failing cluster some may be well. */
    well: fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }),
    failing: fc.constantFrom(...clusters),
    forbidden: fc.constantFrom(undefined, ...clusters),
    zones: fc.array(fc.constantFrom('a', 'b', undefined), { minLength: 15, maxLength: 15 }),
    affinity: fc.constantFrom<Settings['affinity'][]>('local', 'remote', 'none'),
    order: fc.subarray(clusters),
    minimum: fc.option(fc.nat(6), { nil: undefined }),
    sticky: fc.boolean(),
  })
  const law = hooks(
    'law',
    {
      candidates: ({ service }, backends) => keep(backends, b => b.cluster !== service.local?.labels.forbidden),
    },
    { onError: 'refuse' },
  )
  const plugins = [law, plugin(circuitBreaker), plugin(affinity), plugin(sessionAffinity)]
  const reach = (made: typeof someService extends fc.Arbitrary<infer T> ? T : never): boolean => {
    const backends: Backends = clusters.flatMap((cluster, c) =>
      pods(cluster, made.counts[c] ?? 0).map((pod, i) => {
        const zone = made.zones[5 * c + i]
        return zone === undefined ? pod : backend({ ...pod, zone })
      }),
    )
    const wellIn = (b: Backend) => b.cluster !== made.failing || made.well[Number(b.address.split('.')[3]) - 1] === true
    const service = globalService({
      backends,
      settings: {
        affinity: made.affinity,
        clusterOrder: made.order,
        ...(made.minimum === undefined ? {} : { minHealthyLocal: { count: made.minimum } }),
        ...(made.sticky ? { sessionAffinity: { timeoutMs: 1000 } } : {}),
      },
    })
    const local = service.local && { ...service.local, labels: { forbidden: made.forbidden ?? '' } }
    const ruled = { ...service, local }
    const allowed = backends.filter(b => b.cluster !== made.forbidden)
    const away = allowed.some(b => b.cluster !== made.failing)
    const chain = startChain(t, { plugins })
    const tried: string[] = []
    for (let i = 0; i < 3; i++) {
      const { backend: chosen } = chain.choose(flow(ruled, { tried: [...tried] }))
      if (!chosen) return !away && allowed.length === tried.length
      if (chosen.cluster === made.forbidden) return false
      if (wellIn(chosen)) return true
      tried.push(chosen.key)
    }
    return !away
  }
  fc.assert(fc.property(someService, reach), { numRuns: 1000 })
  t.pass('1000 services')
})
