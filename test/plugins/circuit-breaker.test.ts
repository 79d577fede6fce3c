/** The circuit breaker, and each line of its table on opossum. */
import CircuitBreaker from 'opossum'
import t from 'tap'
import circuitBreaker from '../../plugins/circuit-breaker/index.ts'
import type { Chain } from '../../proxy/chain/chain.ts'
import type { LoadedPlugin } from '../../proxy/chain/loading/instance.ts'
import type { Backend } from '../../proxy/model/backend.ts'
import type { Flow, Result, Totals } from '../../proxy/model/flow.ts'
import { hostParts, outcome, plugin, startChain } from '../support/chain.ts'
import { FakeClock, settled } from '../support/clock.ts'
import { backend, FakeDirectory, flow, globalService } from '../support/model.ts'

const a = backend({ address: '10.1.0.1' })
const b = backend({ address: '10.1.0.2' })
const service = globalService({ backends: [a, b] })
const name = 'circuit-breaker'

class Mesh {
  readonly clock = new FakeClock()
  readonly directory = new FakeDirectory(service)
  readonly chain: Chain
  readonly plugins: readonly LoadedPlugin[]

  constructor(test: Parameters<typeof startChain>[0], options: unknown = {}, random = () => 0) {
    const parts = hostParts({ clock: this.clock, random })
    const plugins = [plugin(circuitBreaker, { options, parts })]
    this.plugins = plugins
    this.chain = startChain(test, { clock: this.clock, directory: this.directory, plugins })
  }

  /** As a reload of the configuration with other options does. */
  async reload(given: unknown): Promise<void> {
    const [loaded] = this.plugins
    const parsed = plugin(circuitBreaker, { options: given, parts: hostParts({ clock: this.clock }) })
    if (loaded) await this.chain.replace(this.plugins, [{ loaded, options: parsed.options, given }])
  }

  /** A dial of a backend that is still under way. */
  begin(chosen: Backend = a): Flow {
    const asked = flow(service)
    this.chain.connecting(asked, chosen)
    return asked
  }

  /** Its verdict comes a microtask later. */
  async end(asked: Flow, how: Result['outcome'], chosen: Backend = a): Promise<void> {
    this.chain.result(asked, chosen, { outcome: how, ms: 1 })
    await settled()
  }

  async dial(how: Result['outcome'], times = 1, chosen: Backend = a): Promise<void> {
    for (let i = 0; i < times; i++) await this.end(this.begin(chosen), how, chosen)
  }

  close(asked: Flow, totals: Partial<Totals> = {}, chosen: Backend = a): void {
    this.chain.closed(asked, chosen, { sent: 10, received: 10, ms: 100, reason: 'done', ...totals })
  }

  /** Where new flows may go. */
  get offered(): string {
    return [...this.chain.selected(service)].map(key => (key === a.key ? 'a' : 'b')).join('')
  }

  get state(): string {
    const { notClosed } = this.chain.state()[name] as { notClosed: { backend: string; state: string }[] }
    return notClosed.map(({ backend: key, state }) => `${key === a.destination ? 'a' : 'b'} ${state}`).join()
  }

  get counts(): number[] {
    return this.chain.counters().map(({ value }) => value)
  }
}

t.test('failed dials open a breaker, and flows avoid the backend', async t => {
  const mesh = new Mesh(t)
  await mesh.dial('refused', 4)
  t.equal(mesh.offered, 'ab', 'too few to say')
  await mesh.dial('timeout')
  t.equal(mesh.offered, 'b')
  t.equal(outcome(mesh.chain.choose(flow(service))), '10.1.0.2')
  t.equal(mesh.state, 'a open for 30 s more')
  t.same(mesh.counts, [1, 0])
  const [step] = mesh.chain.explain(flow(service)).steps
  t.same(step?.removed, [{ backend: a.key, why: 'its breaker is open for 30 s more' }])
})

t.test('the breaker opens when the error rate is reached', async t => {
  const share = async (options: unknown, good: number, bad: number) => {
    const mesh = new Mesh(t, options)
    await mesh.dial('connected', good)
    await mesh.dial('refused', bad)
    return mesh.offered
  }
  t.equal(await share({}, 6, 5), 'ab')
  t.equal(await share({}, 5, 5), 'b', '50% is 50%')
  t.equal(await share({ errorRate: '100%' }, 0, 5), 'b')
  t.equal(await share({ errorRate: '100%' }, 1, 9), 'ab')
  t.equal(await share({ errorRate: '10%', minimum: 20 }, 18, 1), 'ab')
  t.equal(await share({ errorRate: '10%', minimum: 20 }, 18, 2), 'b')
  t.equal(await share({ minimum: 1 }, 0, 1), 'b')
})

t.test('a reload with other options keeps the state of the breakers, and what was counted', async t => {
  const mesh = new Mesh(t, { minimum: 5, errorRate: '50%' })
  await mesh.dial('refused', 5)
  await mesh.dial('refused', 3, b)
  t.equal(mesh.offered, 'b')
  const before = mesh.state
  await mesh.reload({ minimum: 9, errorRate: '20%', rest: '1m', window: '10s' })
  t.equal(mesh.state, before, 'a stays open')
  await mesh.dial('refused', 4, b)
  t.notMatch(mesh.state, /b open/, '7 of 9 dials')
  await mesh.reload({ minimum: 8, errorRate: '20%', maxPercent: 100 })
  await mesh.dial('refused', 1, b)
  t.match(mesh.state, /b open/, 'the dials before the reload count')
  await mesh.reload({ minimum: 8, whenAllOpen: 'refuse', maxPercent: 100 })
  t.equal(mesh.offered, '')
})

t.test('a connection limit may come and go with a reload', async t => {
  const mesh = new Mesh(t, { maxConnections: 3 })
  for (let i = 0; i < 2; i++) await mesh.end(mesh.begin(), 'connected')
  t.equal(mesh.offered, 'ab')
  await mesh.reload({ maxConnections: 2 })
  t.equal(mesh.offered, 'b')
  await mesh.reload({})
  t.equal(mesh.offered, 'ab')
})

t.test('a connection limit that a reload sets counts the connections that are there', async t => {
  const mesh = new Mesh(t)
  const [one, two] = [mesh.begin(), mesh.begin()]
  for (const each of [one, two]) await mesh.end(each, 'connected')
  t.equal(mesh.offered, 'ab')
  await mesh.reload({ maxConnections: 2 })
  t.equal(mesh.offered, 'b')
  mesh.close(one)
  t.equal(mesh.offered, 'ab')
  mesh.close(two)
  t.equal(mesh.offered, 'ab')
})

t.test('dials count within the window', async t => {
  const mesh = new Mesh(t)
  await mesh.dial('refused', 4)
  await mesh.clock.advance(9001)
  await mesh.dial('refused', 4)
  t.equal(mesh.offered, 'ab', 'the first four are past')
  await mesh.clock.advance(3000)
  await mesh.dial('refused')
  t.equal(mesh.offered, 'b')
})

t.test('after the rest one flow is a trial, and closes the breaker if it connects', async t => {
  const mesh = new Mesh(t)
  await mesh.dial('refused', 5)
  await mesh.clock.advance(29_999)
  t.equal(mesh.offered, 'b')
  await mesh.clock.advance(1)
  t.equal(mesh.offered, 'ab')
  t.equal(mesh.state, 'a half-open, waiting for a trial')
  const trial = mesh.begin()
  t.equal(mesh.offered, 'b', 'one, and no second')
  t.equal(mesh.state, 'a half-open, trial in progress')
  await mesh.end(trial, 'connected')
  t.equal(mesh.offered, 'ab')
  t.equal(mesh.state, '')
  t.same(mesh.counts, [1, 1])
  await mesh.dial('refused', 3)
  t.equal(mesh.offered, 'ab', 'what failed before it opened is forgotten')
  await mesh.dial('refused')
  t.equal(mesh.offered, 'b', '4 of 5, the trial among them')
})

t.test('a bad trial opens it for another rest', async t => {
  const mesh = new Mesh(t)
  await mesh.dial('refused', 5)
  for (let round = 0; round < 3; round++) {
    await mesh.clock.advance(30_000)
    t.equal(mesh.offered, 'ab')
    await mesh.dial('unreachable')
    t.equal(mesh.offered, 'b')
    t.equal(mesh.state, 'a open for 30 s more')
  }
  t.same(mesh.counts, [4, 0])
})

t.test('neutral results neither open nor close a breaker, and do not count', async t => {
  for (const how of ['cancelled', 'local'] as const) {
    const mesh = new Mesh(t)
    await mesh.dial(how, 50)
    t.equal(mesh.offered, 'ab')
    await mesh.dial('refused', 5)
    t.equal(mesh.offered, 'b', `50 dials that ended "${how}" do not dilute the share`)
    await mesh.clock.advance(30_000)
    await mesh.dial(how)
    t.equal(mesh.state, 'a half-open, waiting for a trial', 'the place is free for the next')
    await mesh.dial('connected')
    t.equal(mesh.state, '')
  }
})

t.test('a UDP session without an answer is neutral, a refused one is bad', async t => {
  const mesh = new Mesh(t)
  const dns = backend({ address: '10.1.0.3', protocol: 'UDP' })
  await mesh.dial('timeout', 20, dns)
  t.equal(mesh.state, '')
  await mesh.dial('refused', 5, dns)
  t.match(mesh.state, /open/)
})

t.test('in half-open only the trial counts', async t => {
  t.test('a stale success does not close it', async t => {
    const mesh = new Mesh(t)
    const stale = mesh.begin()
    await mesh.dial('refused', 5)
    await mesh.clock.advance(30_000)
    await mesh.end(stale, 'connected')
    t.equal(mesh.state, 'a half-open, waiting for a trial')
  })

  t.test('nor does one that ends during the trial, and a stale failure does not open it', async t => {
    const mesh = new Mesh(t)
    const [good, bad] = [mesh.begin(), mesh.begin()]
    await mesh.dial('refused', 5)
    await mesh.clock.advance(30_000)
    const trial = mesh.begin()
    await mesh.end(good, 'connected')
    await mesh.end(bad, 'refused')
    t.equal(mesh.state, 'a half-open, trial in progress')
    await mesh.end(trial, 'connected')
    t.equal(mesh.state, '')
  })

  t.test('results while it is open have no effect', async t => {
    const mesh = new Mesh(t)
    const stale = mesh.begin()
    await mesh.dial('refused', 5)
    await mesh.end(stale, 'connected')
    t.equal(mesh.state, 'a open for 30 s more')
    await mesh.dial('refused')
    await mesh.clock.advance(30_000)
    t.equal(mesh.state, 'a half-open, waiting for a trial', 'no rest is added')
  })
})

t.test('a trial that never settles is replaced by the next flow', async t => {
  const mesh = new Mesh(t)
  await mesh.dial('refused', 5)
  await mesh.clock.advance(30_000)
  const lost = mesh.begin()
  await mesh.clock.advance(29_999)
  t.equal(mesh.offered, 'b')
  await mesh.clock.advance(1)
  t.equal(mesh.offered, 'ab')
  const next = mesh.begin()
  await mesh.end(lost, 'connected')
  t.equal(mesh.state, 'a half-open, trial in progress', 'late, it is not heard')
  await mesh.end(next, 'connected')
  t.equal(mesh.state, '')
})

t.test('rests differ by up to a tenth, so that not all try at once', async t => {
  const mesh = new Mesh(t, {}, () => 0.99)
  await mesh.dial('refused', 5)
  await mesh.clock.advance(32_000)
  t.equal(mesh.offered, 'b')
  await mesh.clock.advance(1000)
  t.equal(mesh.offered, 'ab')
})

t.test('when the breakers of all backends are open', async t => {
  const refusing = new Mesh(t, { whenAllOpen: 'refuse', maxPercent: 100 })
  const trying = new Mesh(t, { maxPercent: 100 })
  for (const mesh of [refusing, trying]) {
    await mesh.dial('refused', 5, a)
    await mesh.dial('refused', 5, b)
  }
  t.same(refusing.chain.choose(flow(service)).refusal, { code: name, why: 'leaves no backend for this flow' })
  t.equal(trying.offered, 'ab')
  t.equal(outcome(trying.chain.choose(flow(service, { tried: [a.key] }))), '10.1.0.2')
})

t.test('connections are limited per backend, from the dial to the end', async t => {
  const mesh = new Mesh(t, { maxConnections: 2, whenAllOpen: 'try' })
  const [one, two] = [mesh.begin(), mesh.begin()]
  t.equal(mesh.offered, 'b')
  t.same(mesh.chain.explain(flow(service)).steps[0]?.removed, [{ backend: a.key, why: 'it has 2 connections' }])
  await mesh.end(one, 'refused')
  t.equal(mesh.offered, 'ab', 'a dial that failed is no connection')
  await mesh.end(two, 'connected')
  const three = mesh.begin()
  t.equal(mesh.offered, 'b')
  mesh.close(two)
  t.equal(mesh.offered, 'ab')
  await mesh.end(three, 'cancelled')
  for (const chosen of [a, a, b, b]) mesh.begin(chosen)
  t.equal(
    outcome(mesh.chain.choose(flow(service))),
    `refused by ${name}`,
    'a limit is a limit, whatever whenAllOpen says',
  )
  t.equal(mesh.state, '', 'and says nothing bad of a backend')
})

t.test('connections that a backend resets before its first byte', async t => {
  const early = { reason: 'backend-reset', received: 0, ms: 20 } as const
  const connected = async (mesh: Mesh, totals: Partial<Totals>, times: number) => {
    for (let i = 0; i < times; i++) {
      const asked = mesh.begin()
      await mesh.end(asked, 'connected')
      mesh.close(asked, totals)
    }
  }
  const mesh = new Mesh(t)
  await connected(mesh, early, 4)
  await connected(mesh, {}, 1)
  await connected(mesh, early, 4)
  t.equal(mesh.offered, 'ab', 'five in a row, or none')
  await connected(mesh, early, 1)
  t.equal(mesh.offered, 'b')
  await mesh.clock.advance(30_000)
  await mesh.dial('connected')
  t.equal(mesh.offered, 'ab')
  for (const harmless of [
    { ...early, ms: 1000 },
    { ...early, sent: 0 },
    { ...early, reason: 'done' },
    { ...early, received: 1 },
  ] as const) {
    await connected(mesh, harmless, 10)
  }
  t.equal(mesh.offered, 'ab')
  const never = new Mesh(t, { earlyClose: 0 })
  await connected(never, early, 50)
  t.equal(never.offered, 'ab')
})

/** Flows of these clients that `a` resets before its first byte; a client that gets an answer is `good`. */
async function resets(mesh: Mesh, clients: readonly string[], good?: string): Promise<void> {
  for (const address of clients) {
    const asked = flow(service, { client: { address, port: 1 } })
    mesh.chain.connecting(asked, a)
    await mesh.end(asked, 'connected')
    mesh.close(asked, address === good ? {} : { reason: 'backend-reset', received: 0, ms: 20 })
  }
}

const offeredTo = (mesh: Mesh, address: string): string => {
  const { candidates } = mesh.chain.explain(flow(service, { client: { address, port: 1 } }))
  return candidates.map(key => (key === a.key ? 'a' : 'b')).join('')
}

t.test('one client cannot open a breaker for the others', async t => {
  const [garbage, well] = ['10.9.0.66', '10.9.0.10']
  const mesh = new Mesh(t)
  await resets(mesh, [well], well)
  await resets(mesh, Array(50).fill(garbage))
  t.equal(mesh.offered, 'ab', 'a backend that resets what one client sends is not failing')
  t.same(mesh.counts, [0, 0])
  await resets(mesh, [well, ...Array(4).fill(garbage)])
  t.equal(mesh.offered, 'b', 'when it resets all clients there are, it is')

  const many = new Mesh(t)
  for (const address of ['10.9.1.5', '10.9.1.6']) await resets(many, [address], address)
  await resets(many, ['10.9.1.1', '10.9.1.2', '10.9.1.3', '10.9.1.4', '10.9.1.1', '10.9.1.2'])
  t.equal(many.offered, 'ab', 'four of six clients')
  await resets(many, ['10.9.1.5'])
  t.equal(many.offered, 'b', 'five')
})

t.test('an only client counts alone, until there is another', async t => {
  const mesh = new Mesh(t, { whenAllOpen: 'refuse' })
  await resets(mesh, Array(5).fill('10.9.0.66'))
  t.equal(offeredTo(mesh, '10.9.0.66'), 'b')
  t.equal(offeredTo(mesh, '10.9.0.10'), 'ab', 'even its first flow is not turned away')
  t.match(mesh.chain.notes(service, a), {
    [name]: { state: 'open', detail: /it reset 5 connections of its only client/ },
  })
  await resets(mesh, ['10.9.0.10'], '10.9.0.10')
  t.equal(offeredTo(mesh, '10.9.0.66'), 'ab')
  t.equal(mesh.state, '')
  t.equal(mesh.clock.waiting, 0)
  await resets(mesh, Array(20).fill('10.9.0.66'))
  t.equal(mesh.offered, 'ab', 'it is one of two now')

  const alone = new Mesh(t)
  await resets(alone, ['10.9.0.10'], '10.9.0.10')
  await alone.clock.advance(10 * 60_000 + 1)
  await resets(alone, Array(5).fill('10.9.0.66'))
  t.equal(alone.offered, 'b', 'a client that has been away for long is none')
})

t.test('failed dials count for all clients alike', async t => {
  const mesh = new Mesh(t)
  await mesh.dial('refused', 5)
  t.equal(offeredTo(mesh, '10.9.0.10'), 'b')
  await resets(mesh, ['10.9.0.10'], '10.9.0.10')
  t.match(mesh.state, /^a open/, 'another client does not close it')
})

t.test('breakers take no more than a share of the backends, by pod', async t => {
  const many = Array.from({ length: 6 }, (_, i) => backend({ address: `10.1.1.${i}` }))
  const open = async (backends: Backend[], options: unknown = {}) => {
    const all = globalService({ backends })
    const mesh = new Mesh(t, options)
    mesh.directory.set(all)
    for (const one of backends) await mesh.dial('refused', 5, one)
    return { mesh, all, left: backends.length - mesh.chain.selected(all).size }
  }
  t.equal((await open(many)).left, 3, 'half of six')
  t.equal((await open(many, { maxPercent: 20 })).left, 1)
  t.equal((await open(many, { maxPercent: 0 })).left, 1, 'one always may be avoided')
  t.equal((await open(many, { maxPercent: 100, whenAllOpen: 'refuse' })).left, 6)
  t.equal((await open(many, { maxPercent: 100 })).left, 0, 'all open: all are tried')
  t.equal((await open(many.slice(0, 1))).left, 0, 'so is the only one')
  t.equal((await open(many.map((one, i) => backend({ ...one, pod: `web-${i % 2}` })))).left, 3, 'one of two pods')
  const { mesh, all } = await open(many)
  t.match(mesh.chain.notes(all, many[0] as Backend)[name], {
    state: 'open',
    detail: /^for 30 s more; too many dials failed$/,
  })
  t.match(
    mesh.chain.notes(all, many[5] as Backend)[name]?.detail,
    /used all the same, since more than 50% would be avoided/,
  )
  await mesh.clock.advance(30_000)
  await mesh.dial('connected', 1, many[0])
  t.equal(mesh.chain.selected(all).size, 6, 'half-open ones let a trial pass')
})

t.test('the state of each breaker is a note on its backend', async t => {
  const mesh = new Mesh(t, { maxConnections: 1 })
  const note = (of = a) => mesh.chain.notes(service, of)[name]
  t.same([note(a), note(b)], [{ state: 'closed' }, { state: 'closed' }], 'also before the first dial')
  await mesh.dial('refused', 5)
  t.same(note(), { state: 'open', detail: 'for 30 s more; too many dials failed' })
  await mesh.clock.advance(30_000)
  t.same(note(), { state: 'half-open', detail: 'waiting for a trial; too many dials failed' })
  await mesh.dial('refused')
  t.same(note(), { state: 'open', detail: 'for 30 s more; the trial failed' })
  mesh.begin(b)
  t.same(note(b), { state: 'closed', detail: 'it has reached maxConnections (1)' })
})

t.test('a removed backend is forgotten, with its timers', async t => {
  const mesh = new Mesh(t)
  await mesh.dial('refused', 5)
  t.equal(mesh.clock.waiting, 1)
  mesh.directory.set(globalService({ backends: [b] }))
  t.equal(mesh.clock.waiting, 0)
  mesh.directory.set(service)
  t.equal(mesh.offered, 'ab')
  const late = mesh.begin()
  mesh.directory.set(globalService({ backends: [b] }))
  await mesh.end(late, 'refused')
  mesh.close(late)
  t.equal(mesh.state, '')
})

t.test('closing leaves no timer, in any state of the breakers', async t => {
  const mesh = new Mesh(t)
  await mesh.dial('connected', 1, b)
  await mesh.dial('refused', 5)
  await mesh.clock.advance(30_000)
  const trial = mesh.begin()
  await mesh.dial('refused', 9, b)
  t.equal(mesh.clock.waiting, 2, 'the trial of the one, the rest of the other')
  await mesh.chain.close()
  t.equal(mesh.clock.waiting, 0)
  await mesh.end(trial, 'refused')
  t.same(mesh.chain.faults(), [])
})

t.test('the same list gives the same result until something changes', async t => {
  const clock = new FakeClock()
  const { plugin: hooks } = plugin(circuitBreaker, { parts: hostParts({ clock, random: () => 0 }) })
  t.teardown(() => hooks.close?.())
  const asked = flow(service)
  const left = () => hooks.candidates?.(asked, asked.frontend.backends)
  t.equal(left(), asked.frontend.backends)
  for (let i = 0; i < 5; i++) {
    hooks.onConnect?.(asked, a)
    hooks.onResult?.(asked, a, { outcome: 'refused', ms: 1 })
  }
  await settled()
  const open = left()
  t.same(open, [b])
  t.equal(left(), open)
  await clock.advance(30_000)
  t.equal(left(), asked.frontend.backends)
})

t.test('breakers use no timer of the process, for any number of them', async t => {
  const mesh = new Mesh(t)
  const timeouts = t.capture(globalThis, 'setTimeout', globalThis.setTimeout)
  const intervals = t.capture(globalThis, 'setInterval', globalThis.setInterval)
  for (let i = 0; i < 100; i++) await mesh.dial('refused', 2, backend({ address: `10.7.0.${i}` }))
  t.same([timeouts().length, intervals().length], [0, 0])
})

t.test('invalid options', async t => {
  const wrong = (options: unknown) => () => plugin(circuitBreaker, { options })
  t.throws(wrong({ window: '500ms' }), /options\.window: "500ms" is too short/)
  t.throws(wrong({ rest: '24d' }), /options\.rest: "24d" is too long/, 'with a tenth more it would be no time at all')
})

// What the plugin is built around. Should a later opossum behave otherwise, this says so before anything else breaks.
t.test('opossum', async t => {
  const action = async (good: boolean) => {
    if (!good) throw new Error('bad')
  }
  const lean = { timeout: false as const, rollingPercentilesEnabled: false, enableSnapshots: false }
  const state = { halfOpen: true, closed: false, enabled: true }
  const fire = (circuit: CircuitBreaker<[boolean], void>, good: boolean) =>
    circuit.fire(good).catch((error: Error) => error.message)

  t.test('can start half-open, and lets one through', async t => {
    const circuit = new CircuitBreaker(action, { ...lean, ...{ state } })
    t.teardown(() => circuit.shutdown())
    t.ok(circuit.halfOpen)
    const [first, second] = [fire(circuit, true), fire(circuit, true)]
    t.same([await first, await second], [undefined, 'Breaker is open'])
    t.ok(circuit.closed)
  })

  t.test('opens above its threshold, not at it', async t => {
    const at = new CircuitBreaker(action, { ...lean, errorThresholdPercentage: 50, volumeThreshold: 2 })
    t.teardown(() => at.shutdown())
    await fire(at, true)
    await fire(at, false)
    t.ok(at.closed)
  })

  t.test('emits nothing after its shutdown', async t => {
    const circuit = new CircuitBreaker(action, { ...lean, volumeThreshold: 1 })
    let opened = 0
    circuit.on('open', () => opened++)
    const underWay = fire(circuit, false)
    circuit.shutdown()
    await underWay
    t.equal(await fire(circuit, false), 'The circuit has been shutdown.')
    t.equal(opened, 0)
  })
})

t.test('a successor process knows which breakers are open, and rests no longer', async t => {
  const before = new Mesh(t)
  await before.dial('refused', 5)
  await before.clock.advance(10_000)
  const saved = JSON.parse(JSON.stringify(before.chain.save()))
  const after = new Mesh(t)
  after.chain.restore(saved)
  t.equal(after.offered, 'b')
  t.equal(after.state, 'a open for 20 s more')
  await after.clock.advance(20_000)
  t.equal(after.state, 'a half-open, waiting for a trial')
  await after.dial('connected')
  t.equal(after.state, '')
  after.chain.restore({ [name]: [null, 3, { backend: 7 }, { backend: b.destination, restMs: 1e9, why: 'x' }] })
  t.equal(after.state, 'b open for 33 s more', 'at most as long as it would rest here')
})
