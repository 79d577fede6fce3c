/** Decisions of the chain, explanations, and reload. */
import fc from 'fast-check'
import t from 'tap'
import type { Backend, Backends } from '../../../proxy/model/backend.ts'
import type { Flow, FlowObserver, OpenFlows } from '../../../proxy/model/flow.ts'
import type { GlobalService } from '../../../proxy/model/service.ts'
import { keep, type Plugin, type PluginModule, prefer } from '../../../proxy/plugin.ts'
import { hooks, outcome, plugin, startChain } from '../../support/chain.ts'
import { FakeClock } from '../../support/clock.ts'
import { backend, clusterService, FakeDirectory, flow, globalService } from '../../support/model.ts'

const local = backend({ address: '10.1.0.1' })
const down = backend({ address: '10.1.0.2', health: 'down' })
const leaving = backend({ address: '10.1.0.3', state: 'terminating' })
const remote = backend({ address: '10.2.0.1', cluster: 'cluster-2' })
const service = globalService({ backends: [local, down, leaving, remote] })
const client = { address: '10.9.0.1', port: 1234 }

const addresses = (backends: Backends): string[] => backends.map(({ address }) => address)
const remoteFirst: Plugin = { candidates: (_flow, backends) => prefer(backends, b => b.remote) }
const localFirst: Plugin = { candidates: (_flow, backends) => prefer(backends, b => !b.remote) }
const gate: Plugin = { admit: () => ({ code: 'gate', why: 'no' }) }

t.test('without plugins the balancer chooses among the usable backends', async t => {
  const seen: Backends[] = []
  const chain = startChain(t, {
    balancer: () => ({
      pick: (_flow, backends) => {
        seen.push(backends)
        return backends[1] as Backend
      },
    }),
  })
  t.equal(outcome(chain.choose(flow(service))), '10.2.0.1')
  chain.choose(flow(service))
  t.same(addresses(seen[0] ?? []), ['10.1.0.1', '10.2.0.1'])
  t.equal(seen[0], seen[1], 'the very same list, so that a balancer can go by its identity')
  t.equal(outcome(chain.choose(flow(globalService({ backends: [remote] })))), '10.2.0.1', 'one alone needs no balancer')
})

t.test('another balancer takes over at once, and sees the open flows', async t => {
  const chain = startChain(t)
  const asked = flow(service)
  chain.connecting(asked, local)
  t.equal(outcome(chain.choose(asked)), '10.1.0.1')
  chain.setBalancer(openFlows => ({
    pick: (_flow, backends) => backends.find(backend => openFlows(backend) === 0) as Backend,
  }))
  t.equal(outcome(chain.choose(asked)), '10.2.0.1', 'the first has an open flow')
})

t.test('plugins narrow in order and see unusable backends; pick sees usable ones only', async t => {
  const notes: string[] = []
  const noting = (name: string, made: Plugin) =>
    hooks(name, {
      candidates: (asked, backends) => {
        notes.push(`${name} ${addresses(backends)}`)
        return made.candidates?.(asked, backends) ?? backends
      },
      pick: (asked, backends) => {
        notes.push(`${name} picks of ${addresses(backends)}`)
        return made.pick?.(asked, backends)
      },
    })
  const chain = startChain(t, {
    plugins: [
      noting('one', { candidates: (_flow, backends) => keep(backends, b => b !== leaving) }),
      noting('two', { pick: (_flow, backends) => backends.at(-1) }),
      noting('three', {}),
    ],
  })
  t.equal(outcome(chain.choose(flow(service))), '10.2.0.1')
  t.same(notes, [
    'one 10.1.0.1,10.1.0.2,10.1.0.3,10.2.0.1',
    'two 10.1.0.1,10.1.0.2,10.2.0.1',
    'three 10.1.0.1,10.1.0.2,10.2.0.1',
    'one picks of 10.1.0.1,10.2.0.1',
    'two picks of 10.1.0.1,10.2.0.1',
  ])
})

t.test('clusters keep their shares when a plugin leaves out some of their backends', async t => {
  const pods = (cluster: string, net: number, weight: number) =>
    [1, 2, 3, 4].map(i => backend({ address: `10.${net}.0.${i}`, cluster, weight }))
  const backends = [...pods('cluster-1', 1, 20), ...pods('cluster-2', 2, 5)]
  const shared = globalService({ backends, settings: { clusterWeights: { 'cluster-1': 80, 'cluster-2': 20 } } })
  let out: readonly string[] = []
  const seen: Backends[] = []
  const chain = startChain(t, {
    plugins: [hooks('picky', { candidates: (_flow, all) => keep(all, b => !out.includes(b.address)) })],
    balancer: () => ({
      pick: (_flow, backends) => {
        seen.push(backends)
        return backends[0] as Backend
      },
    }),
  })
  const shares = () => {
    chain.choose(flow(shared))
    const byCluster = Map.groupBy(seen.at(-1) ?? [], ({ cluster }) => cluster)
    return [...byCluster.values()].map(list => Math.round(list.reduce((sum, { weight }) => sum + weight, 0)))
  }
  t.same(shares(), [80, 20])
  t.equal(seen[0], shared.frontends[0]?.backends, 'the list stays the same where nothing is left out')
  out = ['10.1.0.1', '10.1.0.2', '10.1.0.3', '10.2.0.1']
  t.same(shares(), [80, 20])
  t.equal(seen.at(-1)?.length, 4)
})

t.test('failover is the chain run again: local first becomes remote next', async t => {
  const chain = startChain(t, { plugins: [hooks('wish', localFirst)] })
  const tried: string[] = []
  const went: string[] = []
  for (let i = 0; i < 5; i++) {
    const choice = chain.choose(flow(service, { tried: [...tried] }))
    went.push(outcome(choice))
    if (choice.backend) tried.push(choice.backend.key)
  }
  t.same(
    went,
    ['10.1.0.1', '10.1.0.3', '10.2.0.1', '10.1.0.2', 'refused by no-backend'],
    'after two failures at home the other cluster comes before the rest',
  )
})

t.test('a pick counts only if it is in the list', async t => {
  const chain = startChain(t, { plugins: [hooks('sticky', { pick: () => down })] })
  t.equal(outcome(chain.choose(flow(service))), '10.1.0.1')
  t.same(chain.faults(), [])
})

t.test('a refusal has a code and a reason', async t => {
  const strict = { plugins: [hooks('strict', { candidates: () => [] })] }
  const picky = hooks('picky', { admit: ({ port }) => (port === 7 ? { code: 'x', why: 'no seven' } : undefined) })
  const asleep = backend({ address: '10.1.0.9', state: 'maintenance' })
  const mute = backend({ address: '10.1.0.9', state: 'terminating', serving: false })
  const cases: [code: string, why: string, asked: Flow, given?: { plugins: ReturnType<typeof hooks>[] }][] = [
    ['strict', 'leaves no backend for this flow', flow(service), strict],
    ['picky', 'no seven', flow(service, { client: { ...client, port: 7 } }), { plugins: [picky, ...strict.plugins] }],
    ['no-backend', 'no cluster has endpoints', flow(globalService())],
    [
      'no-backend',
      'other clusters have backends (1), but the service is not global here',
      flow(globalService({ parked: [remote] })),
    ],
    ['no-backend', 'no backend is ready for port 80/TCP (of 1)', flow(globalService({ backends: [asleep] }))],
    ['no-backend', 'every backend was tried (1)', flow(globalService({ backends: [local] }), { tried: [local.key] })],
    ['no-backend', 'no backend is serving: all are terminating (1)', flow(globalService({ backends: [mute] }))],
  ]
  for (const [code, why, asked, given] of cases) {
    const chain = startChain(t, given)
    t.same(chain.choose(asked).refusal, { code, why })
    t.same(chain.explain(asked).refusal, { code, why }, 'and is explained alike')
  }
})

t.test('a plugin takes part only in services it applies to, and is asked once per change', async t => {
  let asked = 0
  const notes: string[] = []
  const mine = hooks(
    'mine',
    {
      admit: () => void notes.push('admit'),
      candidates: (_flow, backends) => {
        notes.push('candidates')
        return backends
      },
      pick: () => void notes.push('pick'),
      onConnect: () => void notes.push('connect'),
      onService: () => void notes.push('service'),
    },
    {
      appliesTo: ({ name }) => {
        asked++
        return name === 'mine'
      },
    },
  )
  const directory = new FakeDirectory(service)
  const chain = startChain(t, { plugins: [mine], directory })
  for (let i = 0; i < 3; i++) chain.choose(flow(service))
  chain.connecting(flow(service), local)
  t.equal(asked, 1)
  t.same(notes, [])
  const own = globalService({ name: 'mine', backends: [local] })
  directory.set(own)
  chain.choose(flow(own))
  chain.connecting(flow(own), local)
  t.equal(asked, 2)
  t.same(notes, ['service', 'admit', 'candidates', 'pick', 'connect'])
})

t.test('decisions at change time', async t => {
  let asked = 0
  const start = (answer: (backends: Backends) => Backends) => {
    asked = 0
    const candidates: Plugin['candidates'] = (_flow, backends) => {
      asked++
      return answer(backends)
    }
    return startChain(t, { plugins: [hooks('wish', { candidates }, { decides: 'change' })] })
  }

  t.test('are made once per list', async t => {
    const chain = start(backends => prefer(backends, b => b.remote))
    for (let i = 0; i < 5; i++) t.equal(outcome(chain.choose(flow(service))), '10.2.0.1')
    t.equal(asked, 1)
    const next = globalService({ backends: [local, remote] })
    t.equal(outcome(chain.choose(flow(next))), '10.2.0.1')
    t.equal(outcome(chain.choose(flow(service))), '10.2.0.1')
    t.equal(asked, 2)
  })

  t.test('are made again for a flow that has tried a backend', async t => {
    const chain = start(backends => prefer(backends, b => b.remote))
    chain.choose(flow(service))
    for (let i = 0; i < 2; i++) t.equal(outcome(chain.choose(flow(service, { tried: [remote.key] }))), '10.1.0.1')
    t.equal(asked, 3)
  })

  t.test('are not memoized if the hook failed', async t => {
    const chain = start(backends => {
      if (asked < 3) throw new Error('not yet')
      return prefer(backends, b => b.remote)
    })
    const went = [1, 2, 3, 4].map(() => outcome(chain.choose(flow(service))))
    t.same(went, ['10.1.0.1', '10.1.0.1', '10.2.0.1', '10.2.0.1'])
    t.equal(asked, 3)
  })
})

t.test('a frontend is settled if no plugin needs to see its flows', async t => {
  const frontend = service.frontends[0] as Flow['frontend']
  const settledBy = (...plugins: ReturnType<typeof hooks>[]) => startChain(t, { plugins }).settled(frontend, service)
  const wish = hooks('wish', remoteFirst, { decides: 'change' })
  t.same(settledBy(wish), [remote])
  t.same(settledBy(), [local, remote])
  t.same(settledBy(hooks('law', { candidates: () => [] }, { decides: 'change' })), [])
  const seeing: Plugin[] = [
    { admit: () => undefined },
    { candidates: (_flow, backends) => backends },
    { pick: () => undefined },
    { onConnect: () => {} },
    { onResult: () => {} },
    { onClose: () => {} },
  ]
  for (const made of seeing) t.equal(settledBy(wish, hooks('seer', made)), undefined, Object.keys(made).join())
  t.same(settledBy(wish, hooks('deaf', { pick: () => local }, { appliesTo: () => false })), [remote])
  t.same(settledBy(wish, hooks('change', { onService: () => {} })), [remote])
})

t.test('events of flows go to plugins first, then to observers', async t => {
  const told: string[] = []
  const watcher = (name: string): Plugin => ({
    onConnect: (_flow, { address }) => void told.push(`${name} connect ${address}`),
    onResult: (_flow, { address }, result) => void told.push(`${name} ${result.outcome} ${address}`),
    onClose: (_flow, { address }, { reason }) => void told.push(`${name} ${reason} ${address}`),
  })
  const observer: Partial<FlowObserver> = {
    connecting: () => void told.push('observer connecting'),
    closed: () => void told.push('observer closed'),
    refused: (_flow, { code }) => void told.push(`observer refused ${code}`),
  }
  const chain = startChain(t, {
    plugins: [hooks('one', watcher('one')), hooks('two', watcher('two'))],
    observers: [observer, {}],
  })
  const asked = flow(service)
  chain.connecting(asked, local)
  chain.result(asked, local, { outcome: 'refused', ms: 1 })
  chain.connecting(asked, remote)
  chain.result(asked, remote, { outcome: 'connected', ms: 1 })
  chain.closed(asked, remote, { sent: 1, received: 2, ms: 3, reason: 'done' })
  chain.refused(asked, { code: 'limit', why: 'full' })
  t.same(told, [
    ...['one connect 10.1.0.1', 'two connect 10.1.0.1', 'observer connecting'],
    ...['one refused 10.1.0.1', 'two refused 10.1.0.1'],
    ...['one connect 10.2.0.1', 'two connect 10.2.0.1', 'observer connecting'],
    ...['one connected 10.2.0.1', 'two connected 10.2.0.1'],
    ...['one done 10.2.0.1', 'two done 10.2.0.1', 'observer closed'],
    'observer refused limit',
  ])
})

t.test('open flows are counted from the dial to the end', async t => {
  let openFlows: OpenFlows = () => -1
  const chain = startChain(t, {
    balancer: counts => {
      openFlows = counts
      return { pick: (_flow, backends) => backends[0] as Backend }
    },
  })
  const asked = flow(service)
  const steps = [
    () => {},
    () => chain.connecting(asked, local),
    () => chain.connecting(flow(service), local),
    () => chain.result(asked, local, { outcome: 'connected', ms: 1 }),
    () => chain.result(flow(service), local, { outcome: 'cancelled', ms: 1 }),
    () => chain.closed(asked, local, { sent: 0, received: 0, ms: 1, reason: 'done' }),
  ]
  const counts = steps.map(step => {
    step()
    return openFlows(local)
  })
  t.same(counts, [0, 1, 2, 2, 1, 0])
  t.equal(openFlows(remote), 0)
})

t.test('plugins are told about services', async t => {
  const told: string[] = []
  const listener = (name: string, given: Partial<PluginModule> = {}) => {
    const onService: Plugin['onService'] = ({ key, backends }, gone) => {
      told.push(`${name}: ${key} has ${backends.length}, gone ${addresses(gone)}`)
    }
    return hooks(name, { onService }, given)
  }
  const directory = new FakeDirectory(service)
  const wantsLocal = listener('local', { appliesTo: ({ settings }) => settings.affinity === 'local' })
  const chain = startChain(t, { directory, plugins: [listener('all'), wantsLocal] })
  const heard = () => told.splice(0)
  t.same(heard(), ['all: default/rebel-base has 4, gone '], 'those that are there at the start')
  directory.set(globalService({ backends: [local, remote] }))
  t.same(heard(), ['all: default/rebel-base has 2, gone 10.1.0.2,10.1.0.3'])
  directory.set(globalService({ backends: [local], settings: { affinity: 'local' } }))
  t.same(heard(), ['all: default/rebel-base has 1, gone 10.2.0.1', 'local: default/rebel-base has 1, gone 10.2.0.1'])
  directory.set(globalService({ backends: [local] }))
  t.same(heard(), ['all: default/rebel-base has 1, gone ', 'local: default/rebel-base has 1, gone 10.1.0.1'])
  directory.remove('default/rebel-base')
  t.same(heard(), ['all: default/rebel-base has 0, gone 10.1.0.1'])
  await chain.close()
  directory.set(service)
  t.same(heard(), [])
})

t.test('replacing the list of plugins', async t => {
  const told: string[] = []
  const named = (name: string, candidates: Plugin['candidates'] = (_flow, backends) => backends) =>
    hooks(name, {
      candidates,
      onService: () => void told.push(`${name} hears`),
      close: async () => void told.push(`${name} closes`),
    })
  const stays = named('stays')
  const chain = startChain(t, { plugins: [named('goes'), stays], directory: new FakeDirectory(service) })
  told.length = 0
  const comes = named('comes', (_flow, backends) => keep(backends, b => b.remote))
  const replaced = chain.replace([comes, stays])
  t.equal(outcome(chain.choose(flow(service))), '10.2.0.1', 'at once')
  await replaced
  t.same(told, ['comes hears', 'goes closes'])
  t.same(
    chain.resolved().map(({ name }) => name),
    ['comes', 'stays'],
  )
})

t.test('state, counters and the resolved chain', async t => {
  const counting = plugin({
    name: 'count-er',
    options: {},
    onError: 'refuse',
    create: (_options, host) => {
      host.counter('things', 'Things').add(3)
      host.counter('things', 'Things').add()
      return { admit: () => undefined, candidates: (_flow, backends) => backends, state: () => ({ n: 1 }) }
    },
  })
  const wish = hooks('wish', { candidates: (_flow, backends) => backends }, { decides: 'change' })
  const chain = startChain(t, { plugins: [counting, hooks('mute', { onClose: () => {} }), wish] })
  t.same(chain.state(), { 'count-er': { n: 1 } })
  t.same(chain.counters(), [{ metric: 'starlane_plugin_count_er_things_total', help: 'Things', value: 4 }])
  t.same(chain.resolved(), [
    { name: 'count-er', from: 'count-er', hooks: ['admit', 'candidates'], onError: 'refuse', decides: 'flow' },
    { name: 'mute', from: 'mute', hooks: ['onClose'], onError: 'skip' },
    { name: 'wish', from: 'wish', hooks: ['candidates'], onError: 'skip', decides: 'change' },
  ])
})

t.test('the endpoints of a headless service that a client may see', async t => {
  const headless = (...backends: Backend[]): GlobalService =>
    globalService({ local: clusterService({ headless: true }), backends })
  const grpc = backend({ address: '10.1.0.2', port: 9000, ports: ['grpc'], health: 'down' })
  const asleep = backend({ address: '10.1.0.8', state: 'maintenance' })
  const all = headless(local, down, leaving, grpc, asleep, remote)
  const law = hooks(
    'law',
    { candidates: ({ client }, backends) => keep(backends, b => !b.remote || client.address === '10.9.0.2') },
    { onError: 'refuse' },
  )
  const wish = hooks('wish', remoteFirst, { decides: 'change' })
  const chain = startChain(t, { plugins: [law, wish] })
  const told = (address: string) => chain.visible({ address, port: 0 }, all).map(({ key }) => key)
  t.same(told('10.9.0.1'), [local.key, grpc.key], 'usable of each port, by laws but not by wishes')
  t.same(told('10.9.0.2'), [local.key, grpc.key, remote.key])
  const preferred = chain.visible({ address: '10.9.0.2', port: 0 }, all, true).map(({ key }) => key)
  t.same(preferred, [remote.key], 'by both where the name of the service is asked for')
  const [first] = chain.visible({ address: '10.9.0.1', port: 0 }, headless(local), true)
  t.equal(first?.key, local.key, 'a wish that leaves nothing is none')
  t.same(chain.visible(client, headless()), [])
  const plain = startChain(t)
  t.equal(plain.visible(client, all), plain.visible(client, all), 'the very same list')
  t.same(startChain(t, { plugins: [hooks('gate', gate)] }).visible(client, all), [])
})

t.test('the backends that are selected for any client', async t => {
  const chain = startChain(t, { plugins: [hooks('wish', localFirst)] })
  t.same([...chain.selected(service)], [local.key])
  t.same([...chain.selected(globalService())], [])
  const headless = globalService({ local: clusterService({ headless: true }), backends: [local, down, remote] })
  t.same([...chain.selected(headless)], [local.key, remote.key], 'of a headless service what is told')
  t.same([...startChain(t, { plugins: [hooks('gate', gate)] }).selected(service)], [])
})

t.test('explanations', async t => {
  const wish = hooks('wish', {
    candidates: (_flow, backends) => keep(backends, b => !b.remote),
    why: (_flow, { cluster }) => `${cluster} is far`,
  })
  const mute = hooks('mute', { candidates: (_flow, backends) => keep(backends, b => b !== down) })
  const sticky = hooks('sticky', { pick: ({ client }, backends) => (client.port === 7 ? backends[0] : undefined) })
  const chain = startChain(t, { plugins: [wish, mute, sticky] })
  t.same(chain.explain(flow(service, { client })), {
    frontend: '127.96.0.10:80/TCP',
    steps: [
      { step: 'wish', left: 3, removed: [{ backend: remote.key, why: 'cluster-2 is far' }] },
      { step: 'mute', left: 2, removed: [{ backend: down.key, why: 'excluded by mute' }] },
      { step: 'usable', left: 1, removed: [{ backend: leaving.key, why: 'it is terminating' }] },
    ],
    candidates: [local.key],
    decidedBy: 'balancer',
  })
  const other = backend({ address: '10.1.0.7' })
  const picked = chain.explain(flow(globalService({ backends: [local, other] }), { client: { ...client, port: 7 } }))
  t.match(picked, { candidates: [local.key], decidedBy: 'sticky' })
  t.same(picked.steps.at(-1)?.removed, [{ backend: other.key, why: `this flow goes to ${local.key}` }])
  const retried = chain.explain(flow(service, { tried: [local.key] }))
  t.same(retried.steps[0], {
    step: 'tried',
    left: 3,
    removed: [{ backend: local.key, why: 'this flow has already tried it' }],
  })
})

t.test('an explanation of a service lists the backends that the chain never sees', async t => {
  const unusable = [
    backend({ address: '10.1.0.4', weight: 0 }),
    backend({ address: '10.1.0.5', health: 'ejected' }),
    backend({ address: '10.1.0.6', state: 'terminating', serving: false }),
    backend({ address: '10.1.0.7', untested: true }),
  ]
  const unoffered = [
    backend({ address: '10.1.0.8', state: 'maintenance' }),
    backend({ address: '10.1.0.9', state: 'maintenance', weight: 0 }),
    backend({ address: '10.1.0.10', protocol: 'UDP', ports: ['dns'] }),
  ]
  const asked = globalService({ backends: [local, ...unusable, ...unoffered], parked: [remote] })
  const explained = startChain(t).explainService(client, asked)
  t.match(explained, { namespace: 'default', name: 'rebel-base', client: '10.9.0.1' })
  t.same(
    explained.before.map(({ why }) => why),
    [
      'the service is not global in this cluster',
      'it is not ready',
      'its weight is 0',
      'no frontend matches its port dns/UDP',
    ],
  )
  t.same(
    explained.frontends.map(({ candidates }) => candidates),
    [[local.key]],
  )
  t.same(
    explained.frontends[0]?.steps.at(-1)?.removed.map(({ why }) => why),
    ['its weight is 0', 'it is ejected', 'it is terminating and not serving', 'checks have not found it up yet'],
  )
  const unknown = startChain(t).explainService(client, globalService({ local: undefined, parked: [remote] }))
  t.same(unknown.before, [{ backend: remote.key, why: 'this cluster has no such service' }])
})

t.test('an explanation always agrees with the choice', async t => {
  const someBackend = fc.record({
    remote: fc.boolean(),
    state: fc.constantFrom('active' as const, 'terminating' as const),
    serving: fc.boolean(),
    health: fc.constantFrom('up' as const, 'down' as const, 'unknown' as const),
    weight: fc.constantFrom(0, 100),
    untested: fc.boolean(),
  })
  const chain = startChain(t, {
    plugins: [
      hooks('gate', { admit: ({ port }) => (port === 7 ? { code: 'gate', why: 'seven' } : undefined) }),
      hooks('law', { candidates: ({ client }, backends) => keep(backends, b => client.port % 2 === 0 || b.remote) }),
      hooks('wish', localFirst, { decides: 'change' }),
      hooks('pick', { pick: ({ client }, backends) => (client.port > 5 ? backends.at(-1) : undefined) }),
    ],
  })
  type Made = Partial<Omit<Backend, 'untested'>> & { remote: boolean; untested: boolean }
  const agree = (made: readonly Made[], port: number, retries: number): boolean => {
    const backends = made.map(({ remote, untested, ...given }, i) => {
      const cluster = remote ? 'cluster-2' : 'cluster-1'
      return backend({ ...given, ...(untested && { untested }), address: `10.0.0.${i}`, cluster })
    })
    const asked = flow(globalService({ backends }), {
      client: { address: '10.9.0.1', port },
      tried: backends.slice(0, retries).map(({ key }) => key),
    })
    const { backend: chosen, refusal } = chain.choose(asked)
    const trace = chain.explain(asked)
    if (refusal) return trace.refusal?.code === refusal.code && trace.refusal.why === refusal.why
    const removed = trace.steps.reduce((sum, step) => sum + step.removed.length, 0)
    return (
      trace.refusal === undefined &&
      trace.candidates.includes(chosen.key) &&
      (trace.decidedBy === 'balancer' || trace.candidates.length === 1) &&
      removed + trace.candidates.length === backends.length
    )
  }
  fc.assert(fc.property(fc.array(someBackend, { maxLength: 6 }), fc.nat(9), fc.nat(4), agree), { numRuns: 500 })
  t.pass('500 services')
})

t.test('closing waits for plugins, but not forever', async t => {
  const clock = new FakeClock()
  const never = new Promise<void>(() => {})
  const chain = startChain(t, {
    clock,
    plugins: [
      hooks('fine', { close: () => {} }),
      hooks('late', { close: () => never }),
      hooks('bad', { close: () => Promise.reject(new Error('no')) }),
      hooks('worse', {
        close: () => {
          throw new Error('never')
        },
      }),
    ],
  })
  let ended = false
  const closing = chain.close().then(() => {
    ended = true
  })
  await clock.advance(4000)
  t.notOk(ended)
  await clock.advance(2000)
  await closing
  t.same(
    chain
      .faultCounts()
      .map(({ plugin }) => plugin)
      .sort(),
    ['bad', 'late', 'worse'],
  )
  t.equal(clock.waiting, 0)
})
