/** The affinity plugin, with Cilium's rule state by state. */
import t from 'tap'
import affinity from '../../plugins/affinity/index.ts'
import { type Backend, type Backends, type Health, select } from '../../proxy/model/backend.ts'
import type { Location } from '../../proxy/model/location.ts'
import type { Settings } from '../../proxy/model/service.ts'
import { hostParts, plugin, startChain } from '../support/chain.ts'
import { backend, clusterService, flow, globalService } from '../support/model.ts'

type Side = Settings['affinity']

const { plugin: hooks } = plugin(affinity)
const plain = { topology: 'service', minHealthyNear: 1 } as const

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
  const concerned = (settings: Partial<Settings>) => affinity.appliesTo?.(globalService({ settings }), plain)
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

  t.test('a pod with two addresses is one, for the minimum, for percentages and among those added', async t => {
    const dual = (name: string, n: number, cluster = 'cluster-1') => [
      backend({ address: `10.9.0.${n}`, pod: name, cluster }),
      backend({ address: `10.9.1.${n}`, pod: name, cluster }),
    ]
    const far = [...dual('x', 1, 'cluster-2'), ...dual('y', 2, 'cluster-2'), ...dual('z', 3, 'cluster-2')]
    const added = (backends: Backends, minHealthyLocal: Settings['minHealthyLocal'] & object) =>
      new Set(
        left([...backends, ...far], { minHealthyLocal })
          .slice(backends.length)
          .map(a => a.slice(7)),
      ).size
    const near = [...dual('a', 11), ...dual('b', 12)]
    t.same(
      [1, 2, 3, 4].map(count => added(near, { count })),
      [0, 0, 1, 2],
    )
    t.equal(left([...near, ...far], { minHealthyLocal: { count: 3 } }).length, 4 + 2, 'with both addresses')
    const down = [...near, ...dual('c', 13).map(b => ({ ...b, health: 'down' as const }))]
    t.same(
      [50, 67, 100].map(percent => added(down, { percent })),
      [0, 1, 1],
    )
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

/** Three zones of two regions; cluster-2 shares zone a with the local cluster. */
const places: readonly Partial<Backend>[] = [
  { zone: 'a', region: 'east', node: 'n1', pod: 'p1' },
  { zone: 'a', region: 'east', node: 'n2', pod: 'p2' },
  { zone: 'b', region: 'east', node: 'n3', pod: 'p3' },
  { cluster: 'cluster-2', remote: true, zone: 'a', region: 'east', node: 'n1', pod: 'q1' },
  { cluster: 'cluster-2', remote: true, zone: 'b', region: 'east', node: 'n9', pod: 'q2' },
  { cluster: 'cluster-3', remote: true, zone: 'z', region: 'west', node: 'n1', pod: 'r1' },
]
const names = ['1a1', '1a2', '1b3', '2a1', '2b9', '3z1']

/** What is left for a Starlane at this place; the named ones are down. */
function near(
  settings: Partial<Settings>,
  {
    at = { node: 'n1', zone: 'a', region: 'east' },
    options = {},
    down = [],
    of = names,
  }: { at?: Location; options?: object; down?: readonly string[]; of?: readonly string[] } = {},
): string[] {
  const parts = { ...hostParts(), location: () => at }
  const made = plugin(affinity, { options, parts })
  const backends = names.flatMap((name, i) =>
    of.includes(name)
      ? [backend({ address: `10.0.0.${i}`, hostname: name, ...places[i], health: down.includes(name) ? 'down' : 'up' })]
      : [],
  )
  const service = globalService({ backends, settings })
  if (made.module.appliesTo?.(service, made.options) === false) return [...of]
  const asked = flow(service)
  return select(made.plugin.candidates?.(asked, asked.frontend.backends) ?? []).map(({ hostname }) => hostname ?? '')
}

t.test('trafficDistribution: same zone in all clusters, then the region, then the rest', async t => {
  const sameZone = { trafficDistribution: 'PreferSameZone' } as const
  t.same(near({}), names, 'a service that does not ask is spread over all')
  t.same(near(sameZone), ['1a1', '1a2', '2a1'])
  t.same(near(sameZone, { down: ['1a1', '1a2'] }), ['2a1'], 'a remote cluster in this zone is nearer than another zone')
  t.same(near(sameZone, { down: ['1a1', '1a2', '2a1'] }), ['1b3', '2b9'], 'the region')
  t.same(near(sameZone, { down: names.slice(0, 5) }), ['3z1'], 'the rest')
  t.same(near(sameZone, { down: names }), names, 'all down: all are tried')
  t.same(near(sameZone, { at: { zone: 'b', region: 'east' } }), ['1b3', '2b9'])
  t.same(near(sameZone, { at: { zone: 'x', region: 'west' } }), ['3z1'], 'no backend in this zone')
  t.same(near(sameZone, { at: { zone: 'x' } }), names, 'nor in a known region')
  t.same(near(sameZone, { at: {} }), names, 'a Starlane that does not know where it is')
  t.same(near({ ...sameZone, affinity: 'local' }), ['1a1', '1a2'], 'the side comes first')
  t.same(near({ ...sameZone, affinity: 'local' }, { down: ['1a1', '1a2'] }), ['1b3'])
  t.same(near({ ...sameZone, affinity: 'remote' }), ['2a1'])
  t.same(near({ ...sameZone, clusterOrder: ['cluster-3'] }), ['3z1'])
  t.same(near({ ...sameZone, clusterWeights: { 'cluster-1': 1, 'cluster-3': 1 } }), names, 'shares of clusters stay')
})

t.test('trafficDistribution: same node, in the local cluster alone', async t => {
  const sameNode = { trafficDistribution: 'PreferSameNode' } as const
  t.same(near(sameNode), ['1a1'], 'a node of the same name elsewhere is another one')
  t.same(near(sameNode, { down: ['1a1'] }), ['1a2', '2a1'], 'then the zone')
  t.same(near(sameNode, { at: { node: 'n3' } }), ['1b3'])
  t.same(near(sameNode, { at: { node: 'n7' } }), names)
})

t.test('the option topology', async t => {
  t.same(near({}, { options: { topology: 'zone' } }), ['1a1', '1a2', '2a1'], 'all services')
  t.same(near({ trafficDistribution: 'PreferSameNode' }, { options: { topology: 'none' } }), names, 'none')
  const headless = globalService({ local: clusterService({ headless: true }), settings: {} })
  t.equal(affinity.appliesTo?.(headless, { ...plain, topology: 'zone' }), false, 'names stand for all endpoints')
})

t.test('a zone that runs short gets others one by one, by the floor', async t => {
  const settings = { trafficDistribution: 'PreferSameZone' } as const
  const zone = ['1a1', '1a2', '2a1']
  const left = (floor: number, given: Partial<Settings> = {}, down: readonly string[] = []) =>
    near({ ...settings, ...given }, { options: { minHealthyNear: floor }, down })
  t.same(left(3), zone)
  for (const [floor, count] of [
    [4, 4],
    [5, 5],
    [6, 6],
    [9, 6],
  ] as const) {
    const some = left(floor)
    t.equal(some.length, count, `${count} for a floor of ${floor}`)
    t.ok(zone.every(name => some.includes(name)))
    if (count < 6) t.notOk(some.includes('3z1'), 'the region before the rest')
  }
  t.same(left(4), left(4), 'always the same ones')
  t.equal(left(3, {}, ['1a1']).length, 3, 'one of the region for the one that is down')
  t.equal(left(1, { affinity: 'none', minHealthyLocal: { count: 3 } }).length, 3, 'the floor of the service')
  t.equal(left(1, { affinity: 'remote', minHealthyLocal: { count: 2 } }).length, 2, 'takes the place of the option')
})

t.test('why a backend is left out: it is farther away', async t => {
  const parts = { ...hostParts(), location: () => ({ zone: 'a' }) }
  const chain = startChain(t, { plugins: [plugin(affinity, { parts })] })
  const [here, there] = [backend({ address: '10.0.0.1', zone: 'a' }), backend({ address: '10.0.0.2', zone: 'b' })]
  const service = globalService({ backends: [here, there], settings: { trafficDistribution: 'PreferSameZone' } })
  t.same(chain.explain(flow(service)).steps[0]?.removed, [
    { backend: there.key, why: 'it is farther away than others that are healthy' },
  ])
})
