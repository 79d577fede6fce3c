/** The session affinity plugin. */
import t from 'tap'
import sessionAffinity from '../../plugins/session-affinity/index.ts'
import type { Chain } from '../../proxy/chain/chain.ts'
import type { Backend } from '../../proxy/model/backend.ts'
import type { Flow, Result } from '../../proxy/model/flow.ts'
import type { GlobalService } from '../../proxy/model/service.ts'
import { hostParts, plugin, startChain } from '../support/chain.ts'
import { FakeClock } from '../support/clock.ts'
import { backend, clusterService, flow, globalService } from '../support/model.ts'

const [a, b, c] = ['10.1.0.1', '10.1.0.2', '10.1.0.3'].map(address => backend({ address })) as [
  Backend,
  Backend,
  Backend,
]
const settings = { sessionAffinity: { timeoutMs: 10_800_000 } }
const sticky = (backends: Backend[], given: Partial<GlobalService> = {}) =>
  globalService({ backends, ...given, settings })
const service = sticky([a, b, c])

/** A chain whose balancer takes each in turn, so that staying is no accident. */
function start(test: typeof t | Test, options: unknown = {}) {
  let turn = 0
  const clock = new FakeClock()
  const chain = startChain(test as never, {
    clock,
    plugins: [plugin(sessionAffinity, { options, parts: hostParts({ clock }) })],
    balancer: () => ({ pick: (_flow, backends) => backends[turn++ % backends.length] as Backend }),
  })
  return { chain, clock }
}
type Test = Parameters<typeof startChain>[0]

const from = (address: string, asked: GlobalService = service, given: Partial<Flow> = {}) =>
  flow(asked, { client: { address, port: 40_000 }, ...given })

/** One connection from choice to result; where it went. */
function connect(chain: Chain, asked: Flow, outcome: Result['outcome'] = 'connected'): string {
  const { backend: chosen } = chain.choose(asked)
  if (!chosen) throw new Error('refused')
  chain.connecting(asked, chosen)
  chain.result(asked, chosen, { outcome, ms: 1 })
  return chosen.address
}

t.test('a client keeps its backend, and other clients get others', async t => {
  const { chain } = start(t)
  const first = connect(chain, from('10.9.0.1'))
  const other = connect(chain, from('10.9.0.2'))
  t.not(first, other)
  for (let i = 0; i < 5; i++) {
    t.equal(connect(chain, from('10.9.0.1')), first)
    t.equal(connect(chain, from('10.9.0.2')), other)
  }
  t.match(chain.state()['session-affinity'], {
    remembered: 2,
    newest: [{ client: '10.9.0.2 127.96.0.10:80/TCP', backend: `${other}:8080/TCP`, seconds: 10_800 }, {}],
  })
})

t.test('simultaneous connections of a client stay together', async t => {
  const { chain } = start(t)
  const flows = Array.from({ length: 4 }, () => from('10.9.0.1'))
  const went = flows.map(asked => {
    const { backend: chosen } = chain.choose(asked)
    chain.connecting(asked, chosen as Backend)
    return chosen?.address
  })
  t.equal(new Set(went).size, 1, 'though none of them has connected yet')
})

t.test('the timeout starts with the last new connection', async t => {
  const { chain, clock } = start(t)
  const first = connect(chain, from('10.9.0.1'))
  await clock.advance(10_000_000)
  t.equal(connect(chain, from('10.9.0.1')), first)
  await clock.advance(10_000_000)
  t.equal(connect(chain, from('10.9.0.1')), first, 'begun anew by the second one')
  await clock.advance(10_800_000)
  t.not(connect(chain, from('10.9.0.1')), first, 'over')
})

t.test('deciding and explaining do not extend a binding', async t => {
  const { chain, clock } = start(t)
  const first = connect(chain, from('10.9.0.1'))
  await clock.advance(10_799_999)
  t.equal(chain.explain(from('10.9.0.1')).decidedBy, 'session-affinity')
  t.equal(chain.choose(from('10.9.0.1')).backend?.address, first)
  await clock.advance(1)
  t.equal(chain.explain(from('10.9.0.1')).decidedBy, 'balancer')
})

t.test('a binding belongs to one frontend, with its own timeout', async t => {
  const { chain, clock } = start(t)
  const ports = [80, 443].map(port => ({ name: '', protocol: 'TCP' as const, port }))
  const two = globalService({
    local: clusterService({ ports }),
    backends: [a, b, c],
    settings: { sessionAffinity: { timeoutMs: 1000 } },
  })
  const [http, https] = two.frontends.map(frontend => () => connect(chain, from('10.9.0.1', two, { frontend })))
  const went = [http?.(), https?.()]
  t.not(went[0], went[1])
  t.same([http?.(), https?.()], went)
  await clock.advance(1000)
  t.not(http?.(), went[0])
})

t.test('a binding has no effect while its backend is not a candidate, and the next connection replaces it', async t => {
  for (const gone of [sticky([b, c]), sticky([Object.freeze({ ...a, health: 'down' }), b, c])]) {
    const { chain } = start(t)
    t.equal(connect(chain, from('10.9.0.1')), a.address)
    t.equal(chain.choose(from('10.9.0.1')).backend, a)
    const moved = connect(chain, from('10.9.0.1', gone))
    t.not(moved, a.address)
    t.equal(connect(chain, from('10.9.0.1')), moved, 'also when the old one is back')
    t.same(
      chain.counters().map(({ metric, value }) => [metric, value]),
      [
        ['starlane_plugin_session_affinity_kept_total', 1],
        ['starlane_plugin_session_affinity_moved_total', 1],
      ],
    )
  }
})

t.test('a failed attempt removes its binding, a neutral one does not', async t => {
  const { chain } = start(t)
  for (const outcome of ['refused', 'timeout', 'unreachable'] as const) {
    const failed = connect(chain, from('10.9.0.1'), outcome)
    t.equal(chain.explain(from('10.9.0.1')).decidedBy, 'balancer', outcome)
    t.not(connect(chain, from('10.9.0.1', service, { tried: [`cluster-1/${failed}:8080/TCP`] }), 'refused'), failed)
  }
  for (const outcome of ['cancelled', 'local'] as const) {
    const went = connect(chain, from('10.9.0.3'), outcome)
    t.equal(connect(chain, from('10.9.0.3')), went, outcome)
  }
})

t.test('the failure of another connection does not remove a binding', async t => {
  const { chain } = start(t)
  const early = from('10.9.0.1')
  chain.connecting(early, a)
  chain.connecting(from('10.9.0.1'), b)
  chain.result(early, a, { outcome: 'refused', ms: 1 })
  t.equal(chain.choose(from('10.9.0.1')).backend, b)
})

t.test('the number of bindings is bounded; the least recently used is evicted', async t => {
  const { chain } = start(t, { clients: 2 })
  for (const n of [1, 2, 1, 3]) connect(chain, from(`10.9.0.${n}`))
  const decided = [1, 2, 3].map(n => chain.explain(from(`10.9.0.${n}`)).decidedBy)
  t.same(decided, ['session-affinity', 'balancer', 'session-affinity'])
})

t.test('does not apply to a service without session affinity', async t => {
  const { chain } = start(t)
  const plain = globalService({ backends: [a, b, c] })
  const went = [1, 2, 3].map(() => connect(chain, from('10.9.0.1', plain)))
  t.equal(new Set(went).size, 3)
  t.match(chain.state(), { 'session-affinity': { remembered: 0 } })
})

t.test('a successor process knows the bindings, and for how long they are', async t => {
  const before = start(t)
  const first = connect(before.chain, from('10.9.0.1'))
  connect(before.chain, from('10.9.0.2'))
  await before.clock.advance(10_000_000)
  connect(before.chain, from('10.9.0.2'))
  const saved = JSON.parse(JSON.stringify(before.chain.save()))
  const after = start(t)
  connect(after.chain, from('10.9.0.7')) // the balancer's next one would be another
  after.chain.restore(saved)
  t.equal(connect(after.chain, from('10.9.0.1')), first)
  after.chain.restore({ 'session-affinity': [['x'], null, 7, ['y', 'z', 'soon']] })
  t.equal(
    (after.chain.state()['session-affinity'] as { remembered: number }).remembered,
    3,
    'what is not a binding is left out',
  )
  const late = start(t)
  late.chain.restore(saved)
  await late.clock.advance(900_000)
  const bound = () => (late.chain.state()['session-affinity'] as { newest: { client: string }[] }).newest
  t.same(
    bound().map(({ client }) => client),
    ['10.9.0.2 127.96.0.10:80/TCP'],
    'the time goes on',
  )
})
