/** Plugins whose hooks throw or break a law. */
import t from 'tap'
import { SlowHooks } from '../../../proxy/chain/slow-hooks.ts'
import type { Backend } from '../../../proxy/model/backend.ts'
import { type LogFields, silentLog } from '../../../proxy/model/log.ts'
import { holdTime, releaseTime, systemClock } from '../../../proxy/model/time/clock.ts'
import type { Plugin, PluginModule } from '../../../proxy/plugin.ts'
import { hooks, outcome, startChain } from '../../support/chain.ts'
import { FakeClock, settled } from '../../support/clock.ts'
import { backend, flow, globalService } from '../../support/model.ts'

const local = backend({ address: '10.1.0.1' })
const remote = backend({ address: '10.2.0.1', cluster: 'cluster-2' })
const stranger = backend({ address: '10.3.0.1', cluster: 'cluster-3' })
const service = globalService({ backends: [local, remote] })

const fails = (thrown: unknown) => () => {
  throw thrown
}
/** A hook as untyped JavaScript would return it. */
const untyped = (hook: (...args: never[]) => unknown) => hook as never

const unknownBackend = (key: string) => `returned the backend ${key}, which it was not given, or returned twice`
const promised = 'returned a promise; hooks are synchronous'

const lawless: readonly [what: string, made: Plugin][] = [
  ['threw "oh"', { candidates: fails(new Error('oh')) }],
  ['threw "just so"', { candidates: fails('just so') }],
  ['threw "undefined"', { candidates: fails(undefined) }],
  [promised, { candidates: untyped(async () => fails('later')()) }],
  ['returned undefined, not a list of backends', { candidates: untyped(() => {}) }],
  ['returned an object, not a list of backends', { candidates: untyped(() => new Set()) }],
  [unknownBackend(stranger.key), { candidates: (_flow, backends) => [...backends, stranger] }],
  [unknownBackend(local.key), { candidates: () => [local, local] }],
  [unknownBackend(local.key), { candidates: () => [{ ...local }] }],
  ['returned undefined, which it was not given, or returned twice', { candidates: untyped(() => [undefined]) }],
  [
    `threw "Cannot assign to read only property '0' of object '[object Array]'"`,
    { candidates: (_flow, backends) => (backends as Backend[]).reverse() },
  ],
  ['threw "no admission"', { admit: fails(new Error('no admission')) }],
  [promised, { admit: untyped(async () => fails('later')()) }],
  ['returned true, not a refusal with a string "why"', { admit: untyped(() => true) }],
  ['returned null, not a refusal with a string "why"', { admit: untyped(() => null) }],
  ['threw "no pick"', { pick: fails(new Error('no pick')) }],
  [promised, { pick: untyped(async () => fails('later')()) }],
]

t.test('a deciding hook that fails: a law refuses, a wish is skipped', async t => {
  const unhandled: unknown[] = []
  const note = (reason: unknown) => void unhandled.push(reason)
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  for (const [what, made] of lawless) {
    const [hook = ''] = Object.keys(made)
    for (const onError of ['skip', 'refuse'] as const) {
      const chain = startChain(t, { plugins: [hooks('bad', made, { onError })] })
      const expected = onError === 'skip' ? '10.1.0.1' : 'refused by bad'
      t.equal(outcome(chain.choose(flow(service))), expected, `${onError}: ${hook} ${what}`)
      t.equal(outcome(chain.choose(flow(service))), expected, 'and again')
      const [fault] = chain.faults()
      t.equal(fault?.message.split(' (')[0], what)
      t.match(fault, { code: 'PLUGIN_FAULT', where: `plugin bad, ${hook}`, message: /\(2 times so far\)/ })
      t.equal(chain.explain(flow(service)).refusal?.code, onError === 'skip' ? undefined : 'bad')
    }
  }
  await settled()
  t.same(unhandled, [])
})

t.test('a list in another order is still a subset', async t => {
  const turned = hooks('turned', { candidates: (_flow, backends) => backends.filter(b => b !== local).toReversed() })
  const chain = startChain(t, { plugins: [turned] })
  t.equal(outcome(chain.choose(flow(service))), '10.2.0.1')
  t.same(chain.faults(), [])
})

t.test('a plugin cannot change a list after it has returned it', async t => {
  const own = [local]
  const chain = startChain(t, { plugins: [hooks('owner', { candidates: () => own })] })
  t.equal(outcome(chain.choose(flow(service))), '10.1.0.1')
  t.throws(() => own.push(remote))
})

t.test('a watching hook that fails affects no flow and no other plugin', async t => {
  const heard: string[] = []
  const bad: Plugin = {
    onConnect: fails(new Error('x')),
    onResult: untyped(async () => fails('y')()),
    onClose: fails(new Error('z')),
    onService: fails(new Error('s')),
    why: fails(new Error('w')),
    candidates: (_flow, backends) => backends.filter(b => !b.remote),
  }
  const good: Plugin = {
    onConnect: () => void heard.push('connect'),
    onResult: () => void heard.push('result'),
    onClose: () => void heard.push('close'),
  }
  const chain = startChain(t, { plugins: [hooks('bad', bad), hooks('good', good)] })
  const asked = flow(service)
  chain.connecting(asked, local)
  chain.result(asked, local, { outcome: 'connected', ms: 1 })
  chain.closed(asked, local, { sent: 0, received: 0, ms: 1, reason: 'done' })
  t.same(heard, ['connect', 'result', 'close'])
  t.same(chain.explain(asked).steps[0]?.removed, [{ backend: remote.key, why: 'excluded by bad' }])
  t.same(
    chain.faultCounts().map(({ hook }) => hook),
    ['onConnect', 'onResult', 'onClose', 'why'],
  )
})

t.test('a state that is not JSON is left out', async t => {
  const cyclic: Record<string, unknown> = {}
  cyclic.self = cyclic
  const chain = startChain(t, {
    plugins: [
      hooks('cyclic', { state: untyped(() => cyclic) }),
      hooks('slow', { state: untyped(async () => fails('x')()) }),
      hooks('bad', { state: fails(new Error('x')) }),
      hooks('good', { state: () => 7 }),
    ],
  })
  t.same(chain.state(), { good: 7 })
  t.same(
    chain.faultCounts().map(({ plugin }) => plugin),
    ['cyclic', 'slow', 'bad'],
  )
})

t.test('when appliesTo fails, a law applies and a wish does not', async t => {
  const failing: Partial<PluginModule>[] = [
    { appliesTo: fails(new Error('what?')) },
    { appliesTo: untyped(async () => true) },
    { appliesTo: untyped(() => 'yes') },
  ]
  for (const given of failing) {
    const law = startChain(t, { plugins: [hooks('law', { candidates: () => [] }, { ...given, onError: 'refuse' })] })
    t.equal(outcome(law.choose(flow(service))), 'refused by law')
    const wish = startChain(t, { plugins: [hooks('wish', { candidates: () => [] }, given)] })
    t.equal(outcome(wish.choose(flow(service))), '10.1.0.1')
    t.match(wish.faults(), [{ where: 'plugin wish, appliesTo' }])
  }
})

t.test('a fault is logged once a minute, is a problem for a while, and is counted', async t => {
  const clock = new FakeClock()
  const lines: LogFields[] = []
  const log = { ...silentLog, error: (_event: string, fields: LogFields = {}) => void lines.push(fields) }
  let mood = 'bad'
  const moody: Plugin = {
    candidates: (_flow, backends) => {
      if (mood === 'bad') throw new Error('a mood')
      return backends
    },
    onConnect: fails(new Error('another')),
  }
  const chain = startChain(t, { clock, log, plugins: [hooks('moody', moody)] })
  for (let i = 0; i < 10; i++) chain.choose(flow(service))
  t.equal(lines.length, 1)
  t.match(lines[0], { plugin: 'moody', hook: 'candidates', what: 'threw "a mood"', count: 1 })
  chain.connecting(flow(service), local)
  t.equal(lines.length, 2, 'each hook by itself')
  await clock.advance(61_000)
  chain.choose(flow(service))
  t.match(lines[2], { hook: 'candidates', count: 11 })
  t.equal(chain.faults().length, 2)
  mood = 'good'
  await clock.advance(301_000)
  chain.choose(flow(service))
  t.same(chain.faults(), [])
  t.same(chain.faultCounts(), [
    { plugin: 'moody', hook: 'candidates', count: 11 },
    { plugin: 'moody', hook: 'onConnect', count: 1 },
  ])
})

t.test('a hook is timed also where events that are read in a row happen at one time', async t => {
  const named: unknown[] = []
  const slow = new SlowHooks({
    pauses: { longest: () => 150, starved: () => 0, close: () => {} },
    clock: {
      ...systemClock,
      every: (_ms, look) => {
        look()
        return () => {}
      },
    },
    report: (plugin, hook, ms) => named.push([plugin, hook, ms >= 100]),
  })
  holdTime()
  t.teardown(releaseTime)
  const busy = () => {
    for (const end = performance.now() + 110; performance.now() < end; );
  }
  slow.timed({ name: 'slow', hook: 'candidates' }, busy, 1, 2, 3)
  t.same(named, [['slow', 'candidates', true]])
})

t.test('a hook that holds up the process is named, from the second time on', async t => {
  const clock = new FakeClock()
  let longest = 0
  let starved = 0
  let isClosed = false
  const pauses = {
    longest: () => longest,
    starved: () => starved,
    close: () => {
      isClosed = true
    },
  }
  const takes = (ms: number) => ({
    candidates: (_flow: unknown, backends: readonly Backend[]) => {
      clock.pass(ms)
      starved += busyMs
      return backends
    },
  })
  let busyMs = 0
  const plugins = [hooks('quick', takes(1)), hooks('slow', takes(150))]
  const chain = startChain(t, { clock, pauses, plugins })
  t.equal(outcome(chain.choose(flow(service))), '10.1.0.1')
  t.same(chain.faults(), [], 'nothing is timed while the process does not stand still')
  longest = 150
  await clock.advance(1000)
  longest = 0
  busyMs = 60
  chain.choose(flow(service))
  t.same(chain.faults(), [], 'nor is it the plugin that takes the time of a process without a processor')
  busyMs = 0
  await clock.advance(1000)
  t.equal(outcome(chain.choose(flow(service))), '10.1.0.1', 'its answer counts')
  t.match(chain.faults(), [
    {
      code: 'PLUGIN_FAULT',
      where: 'plugin slow, candidates',
      message: /^took 150 ms \(once so far\); the whole process waited/,
    },
  ])
  await clock.advance(62_000)
  chain.choose(flow(service))
  t.match(chain.faults(), [{ message: /once so far/ }], 'and no longer after a minute without a pause')
  await chain.close()
  t.ok(isClosed)
})
