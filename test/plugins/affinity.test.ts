/** The affinity plugin, with Cilium's rule state by state. */
import t from 'tap'
import affinity from '../../plugins/affinity/index.ts'
import type { Backend, Backends, Health } from '../../proxy/model/backend.ts'
import type { Settings } from '../../proxy/model/service.ts'
import { hostParts, plugin, startChain } from '../support/chain.ts'
import { backend, flow, globalService } from '../support/model.ts'

type Side = Settings['affinity']

const { plugin: hooks } = plugin(affinity)

/** What the plugin leaves of a service's backends, as addresses. */
function left(backends: Backends, settings: Partial<Settings>, tried: readonly Backend[] = []): string[] {
  const asked = flow(globalService({ backends, settings }), { tried: tried.map(({ key }) => key) })
  const untried = asked.frontend.backends.filter(b => !tried.includes(b))
  return (hooks.candidates?.(asked, untried) ?? []).map(({ address }) => address)
}

const conditions: readonly Partial<Backend>[] = [
  { state: 'active', health: 'up' },
  { state: 'active', health: 'down' },
  { state: 'terminating', health: 'unknown' },
  { state: 'terminating', health: 'ejected' },
  { state: 'terminating', serving: false },
]

/** All services of at most two local and two remote backends, in whatever state each of them may be. */
function* allServices(): Generator<Backends> {
  const absent = conditions.length
  const all = [...conditions.keys(), absent]
  for (const a of all)
    for (const b of all)
      for (const c of all)
        for (const d of all) {
          yield [a, b, c, d].flatMap((condition, i) =>
            condition === absent
              ? []
              : [
                  backend({
                    address: `10.${i < 2 ? 1 : 2}.0.${i % 2}`,
                    cluster: i < 2 ? 'cluster-1' : 'cluster-2',
                    ...conditions[condition],
                  }),
                ],
          )
        }
}

/** The table of the reference (1.4), read from the page and not from the code. */
function byTheTable(side: Side, backends: Backends): Backends {
  const unhealthy: readonly Health[] = ['down', 'ejected']
  const healthy = (b: Backend) =>
    (b.state === 'active' || (b.state === 'terminating' && b.serving)) && !unhealthy.includes(b.health)
  const L = backends.filter(b => b.cluster === 'cluster-1' && healthy(b)).length
  const La = backends.filter(b => b.cluster === 'cluster-1' && healthy(b) && b.state === 'active').length
  const R = backends.filter(b => b.cluster !== 'cluster-1' && healthy(b)).length
  const use = {
    none: { local: true, remote: true },
    local: { local: true, remote: La === 0 && R > 0 },
    remote: { local: R === 0 && L > 0, remote: true },
  }[side]
  return backends.filter(b => (b.cluster === 'cluster-1' ? use.local : use.remote))
}

/** The final selection (1.5), and ours for when all is bad. */
function byTheOrder(backends: Backends): Backends {
  const good = (b: Backend) => b.serving && b.health !== 'down' && b.health !== 'ejected'
  const ranks = [
    backends.filter(b => b.state === 'active' && good(b)),
    backends.filter(b => b.state === 'terminating' && good(b)),
    backends.filter(b => b.state === 'active'),
    backends.filter(b => b.serving),
  ]
  return ranks.find(rank => rank.length > 0) ?? []
}

t.test("Cilium's table holds in every combination of states, sides and tried backends", async t => {
  let checked = 0
  for (const backends of allServices()) {
    for (const side of ['none', 'local', 'remote'] as const) {
      for (let mask = 0; mask < 2 ** backends.length; mask++) {
        const tried = backends.filter((_, i) => mask & (1 << i))
        const untried = backends.filter(b => !tried.includes(b))
        const expected = byTheTable(side, untried)
        const found = left(backends, { affinity: side }, tried)
        const wanted = (expected.length > 0 ? expected : untried).map(({ address }) => address)
        if (found.join() !== wanted.join()) t.same(found, wanted, JSON.stringify({ side, backends, tried }))
        checked++
      }
    }
  }
  t.equal(checked, 3 * 11 ** 4, 'each of four places: absent, or one of five states, tried or not')
})

t.test('the same backends reach the balancer through the chain', async t => {
  const chain = startChain(t, { plugins: [plugin(affinity)] })
  for (const backends of allServices()) {
    for (const side of ['none', 'local', 'remote'] as const) {
      const narrowed = byTheTable(side, backends)
      const wanted = byTheOrder(narrowed.length > 0 ? narrowed : backends).map(({ key }) => key)
      const service = globalService({ backends, settings: { affinity: side } })
      const found = [...chain.selected(service)]
      if (found.join() !== wanted.join()) t.same(found, wanted, JSON.stringify({ side, backends }))
    }
  }
  t.same(chain.faults(), [])
})

const local = (n: number, given: Partial<Backend> = {}) => backend({ address: `10.1.0.${n}`, ...given })
const remote = (n: number, cluster = 'cluster-2', given: Partial<Backend> = {}) =>
  backend({ address: `10.${cluster.at(-1)}.0.${n}`, cluster, ...given })
const many = <T>(count: number, make: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => make(n))
const isRemote = (address: string) => !address.startsWith('10.1.')

t.test('does not apply to services without a preference', async t => {
  const concerned = (settings: Partial<Settings>) => affinity.appliesTo?.(globalService({ settings }), {})
  t.equal(concerned({}), false)
  t.equal(concerned({ affinity: 'local' }), true)
  t.equal(concerned({ affinity: 'remote' }), true)
  t.equal(concerned({ clusterOrder: ['cluster-2'] }), true)
  t.equal(concerned({ minHealthyLocal: { count: 1 } }), true)
})

t.test('clusters in order', async t => {
  const down = { health: 'down' } as const
  const leaving = { state: 'terminating' } as const
  const order = { clusterOrder: ['cluster-3', 'cluster-2'] }
  const all = [local(1), remote(1), remote(1, 'cluster-3'), remote(1, 'cluster-4')]
  t.same(left(all, order), ['10.3.0.1'])
  t.same(left([local(1), remote(1), remote(1, 'cluster-3', down)], order), ['10.2.0.1'])
  t.same(left([local(1), remote(1), remote(1, 'cluster-3', leaving)], order), ['10.2.0.1'])
  t.same(
    left([local(1), remote(1, 'cluster-4')], order),
    ['10.1.0.1', '10.4.0.1'],
    'those not named come last, together',
  )
  t.same(
    left([local(1, down), remote(1, 'cluster-2', down)], order),
    ['10.1.0.1', '10.2.0.1'],
    'all bad: no preference',
  )
  t.same(left(all, order, [all[2] as Backend]), ['10.2.0.1'], 'the next after a failed dial')
  t.same(left(all, { ...order, affinity: 'local' }), ['10.1.0.1'], 'local first, then in order')
  t.same(left(all, { ...order, affinity: 'local' }, [all[0] as Backend]), ['10.3.0.1'])
  t.same(left(all, { clusterOrder: ['cluster-1'] }), ['10.1.0.1'])
})

t.test('a minimum of healthy local backends', async t => {
  const settings = { affinity: 'local', minHealthyLocal: { count: 3 } } as const
  const remotes = many(5, n => remote(n))
  const pool = (healthy: number, given: Partial<Settings> = settings) =>
    left([...many(5, n => local(n, n < healthy ? {} : { health: 'down' })), ...remotes], given)

  t.test('remote backends are added one by one, and all if no local one is left', async t => {
    const joined = [5, 4, 3, 2, 1, 0].map(healthy => pool(healthy).filter(isRemote).length)
    t.same(joined, [0, 0, 0, 1, 2, 5])
    t.equal(pool(2).filter(address => !isRemote(address)).length, 5, 'all local ones stay, as they always do')
  })

  t.test('the same remote backends are added every time, and stay', async t => {
    const [two = [], one = []] = [pool(1), pool(2)].map(addresses => addresses.filter(isRemote))
    t.ok(one.every(address => two.includes(address)))
  })

  t.test('different importing clusters choose different remote backends', async t => {
    const asked = flow(
      globalService({ backends: [local(1), ...remotes], settings: { ...settings, minHealthyLocal: { count: 2 } } }),
    )
    const choices = many(40, n => {
      const clusters = [{ name: `importer-${n}`, id: 1, local: true }]
      const other = plugin(affinity, { parts: hostParts({ clusters }) }).plugin
      return other.candidates?.(asked, asked.frontend.backends).find(b => b.remote)?.address
    })
    t.equal(new Set(choices).size, 5)
  })

  t.test('a percentage refers to all local endpoints of the port, in any state', async t => {
    const backends = [
      ...many(3, n => local(n)),
      ...many(3, n => local(10 + n, { health: 'down' })),
      ...many(4, n => local(20 + n, { state: 'maintenance' })),
      ...many(9, n => local(30 + n, { protocol: 'UDP' })),
      ...remotes,
    ]
    const joined = (percent: number) => left(backends, { minHealthyLocal: { percent } }).filter(isRemote).length
    t.same([0, 30, 31, 40, 50, 80, 100].map(joined), [0, 0, 1, 1, 2, 5, 5])
  })

  t.test('a minimum alone implies local, and has no effect with remote', async t => {
    t.same(pool(4, { minHealthyLocal: { count: 3 } }).filter(isRemote), [])
    t.same(
      pool(1, { affinity: 'remote', minHealthyLocal: { count: 3 } }).filter(address => !isRemote(address)),
      [],
    )
    t.same(pool(1, { affinity: 'local', minHealthyLocal: { count: 0 } }).filter(isRemote), [])
  })

  t.test('remote backends are added in the order of the clusters, and only healthy ones', async t => {
    const backends = [
      local(1),
      remote(1),
      remote(2),
      remote(1, 'cluster-3'),
      remote(2, 'cluster-3', { health: 'down' }),
      remote(3, 'cluster-3', { state: 'terminating' }),
    ]
    const given = { ...settings, clusterOrder: ['cluster-3'] }
    t.equal(left(backends, { ...given, minHealthyLocal: { count: 2 } }).join(), '10.1.0.1,10.3.0.1')
    t.same(left(backends, given).length, 3)
    t.ok(left(backends, given).includes('10.3.0.1'))
    t.same(left([local(1), remote(1, 'cluster-2', { health: 'down' })], given), ['10.1.0.1'])
  })
})

t.test('explanations', async t => {
  const chain = startChain(t, { plugins: [plugin(affinity)] })
  const why = (settings: Partial<Settings>, ...backends: Backend[]) =>
    chain.explain(flow(globalService({ backends, settings }))).steps[0]?.removed.map(removed => removed.why)
  const order = ['cluster-3', 'cluster-2']
  const later = 'its cluster comes later in starlane.dev/affinity (cluster-3, cluster-2)'
  const enough = 'local backends are preferred, and enough are healthy'
  t.same(why({ affinity: 'local' }, local(1), remote(1)), [enough])
  t.same(why({ affinity: 'remote' }, local(1), remote(1)), ['remote backends are preferred, and some are healthy'])
  t.same(why({ clusterOrder: order }, local(1), remote(1), remote(1, 'cluster-3')), [later, later])
  t.same(why({ affinity: 'local', clusterOrder: order }, local(1), remote(1)), [enough])
  t.same(why({ affinity: 'local', clusterOrder: order }, remote(1), remote(1, 'cluster-3')), [later])
})
