/** The watcher against answers that no well-behaved server gives: another server, an older state, more than the limits. */
import assert from 'node:assert/strict'
import t, { type Test } from 'tap'
import { Budget } from '../../../proxy/clients/budget.ts'
import type { Answer, ApiRequest } from '../../../proxy/clients/kubernetes/client.ts'
import { Watcher, type WatchState } from '../../../proxy/clients/kubernetes/watcher.ts'
import type { ApiObject } from '../../../proxy/clients/kubernetes/wire.ts'
import { defaultLimits, type Limits } from '../../../proxy/model/cluster.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { FakeClock } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'

const services = { kind: 'Service', apiVersion: 'v1', group: '', plural: 'services', paths: ['/api/v1/services'] }

interface Reply {
  readonly server?: string
  readonly lines: AsyncIterable<string> | Iterable<string>
}

/** A started watcher, whose requests `reply` answers. */
function watched(t: Test, reply: (request: ApiRequest) => Reply, limits: Partial<Limits> = {}) {
  const clock = new FakeClock()
  const calls: string[] = []
  const states: WatchState[] = []
  const answer = async (request: ApiRequest): Promise<Answer> => {
    const { server = 'https://one', lines } = reply(request)
    const bytes = async function* () {
      for await (const line of lines) yield Buffer.from(line)
    }
    return { server, sentAt: Number.NaN, chunks: bytes(), cancel: () => {} }
  }
  const listener = {
    put: ({ metadata, spec }: ApiObject) => void calls.push(`put ${metadata.name} ${spec ?? ''}`.trim()),
    drop: (_: string, name: string) => void calls.push(`drop ${name}`),
    listed: () => void calls.push('listed'),
    stateChanged: (state: WatchState) => void states.push(state),
  }
  const stop = new AbortController()
  const budget = new Budget({ ...defaultLimits, ...limits }, clock)
  const parts = {
    client: { list: answer, stream: answer },
    budget,
    clock,
    random: () => 0,
    log: silentLog,
    cluster: 'one',
  }
  const running = new Watcher(services, listener, parts).run(stop.signal)
  t.teardown(async () => {
    stop.abort()
    await running
  })
  return {
    clock,
    calls,
    states,
    budget,
    error: () => states.flatMap(state => ('error' in state ? state.error : [])).at(-1),
  }
}

const object = (name: string, version: string, spec?: string) => ({
  metadata: { name, resourceVersion: version },
  spec,
})
const list = (version: string, items: readonly object[], more?: string) => [
  JSON.stringify({ metadata: { resourceVersion: version, continue: more }, items }),
]
const event = (type: string, object: object) => `${JSON.stringify({ type, object })}\n`

/** Ends with the test. */
async function* open(t: Test, ...lines: string[]) {
  yield* lines
  await new Promise<void>(resolve => t.teardown(() => resolve()))
}

t.test('a list belongs to the server that gave it, whoever is asked next', async t => {
  let lists = 0
  const { calls } = watched(t, ({ query }) => {
    if (query?.watch) return { server: 'https://two', lines: open(t) }
    lists++
    return lists === 1
      ? { server: 'https://one', lines: list('50', [object('a', '7', 'of one'), object('b', '8')]) }
      : { server: 'https://two', lines: list('9', [object('a', '7', 'of two')]) }
  })
  await eventually(() => assert.equal(calls.filter(call => call === 'listed').length, 2))
  t.same(calls, ['put a of one', 'put b', 'listed', 'put a of two', 'drop b', 'listed'])
})

t.test('a server that was restored to an older state is noticed by its bookmarks', async t => {
  let lists = 0
  const { clock, calls } = watched(t, ({ query }) => {
    const bookmark = event('BOOKMARK', { metadata: { resourceVersion: '9' } })
    if (query?.watch) return { lines: lists === 1 ? open(t, bookmark) : open(t) }
    lists++
    return { lines: lists === 1 ? list('10', [object('a', '7', 'old')]) : list('9', [object('a', '7', 'new')]) }
  })
  await eventually(() => assert.equal(calls.length, 2))
  await eventually(async () => {
    await clock.advance(1000)
    assert.equal(lists, 2)
  })
  await eventually(() => assert.equal(calls.filter(call => call === 'listed').length, 2))
  t.same(calls, ['put a old', 'listed', 'put a new', 'listed'], 'its versions say nothing about what we have')
})

t.test('over the limits of its cluster, the rest is not read, and all is tried again minutes later', async t => {
  const endless = function* (make: (i: number) => string) {
    for (let i = 0; ; i++) yield make(i)
  }
  const small = (i: number) => `${i > 0 ? ',' : ''}${JSON.stringify(object(`s${i}`, `${i + 1}`))}`
  let requests = 0
  const cases: readonly [string, Partial<Limits>, (request: ApiRequest) => Reply, RegExp][] = [
    [
      'pages',
      { objects: 1000 },
      () => ({
        lines: list(
          '1',
          Array.from({ length: 300 }, (_, i) => object(`s${requests}-${i}`, '1')),
          `${requests}`,
        ),
      }),
      /^over its limits: more than 1000 objects; raise limits.objects of the cluster/,
    ],
    [
      'a page',
      { objects: 1000 },
      () => ({ lines: endless(i => `${i === 0 ? '{"items":[' : ''}${small(i)}`) }),
      /more than 1000 objects/,
    ],
    [
      'a page of blanks',
      { bytes: 1 << 20 },
      () => ({ lines: endless(i => (i === 0 ? '{"items":[' : ' '.repeat(65_536))) }),
      /more than 1048576 bytes/,
    ],
    [
      'large objects',
      { bytes: 1 << 20 },
      () => ({
        lines: endless(i => `${i === 0 ? '{"items":[' : ','}${JSON.stringify(object(`s${i}`, '1', 'x'.repeat(9999)))}`),
      }),
      /more than 1048576 bytes/,
    ],
    [
      'a line',
      {},
      ({ query }) => ({ lines: query?.watch ? endless(() => 'x'.repeat(65_536)) : list('1', []) }),
      /line of the watch is longer than/,
    ],
    [
      'events',
      { objects: 1000 },
      ({ query }) => ({
        lines: query?.watch ? endless(i => event('ADDED', object(`s${i}`, `${i + 2}`))) : list('1', []),
      }),
      /more than 1000 objects/,
    ],
  ]
  for (const [name, limits, reply, why] of cases) {
    t.test(name, async t => {
      const { clock, states, error, budget } = watched(
        t,
        request => {
          requests++
          return reply(request)
        },
        { rate: 1 << 30, ...limits },
      )
      await eventually(() => assert.equal(states.at(-1)?.state, 'over'))
      t.match(error(), { code: 'SOURCE_LIMIT', message: why })
      t.ok(budget.objects <= 1000)
      const before = requests
      await clock.advance(119_000)
      t.equal(requests, before, 'it is left alone')
      await clock.advance(2000)
      await eventually(() => assert.ok(requests > before))
    })
  }
})

t.test('empty pages end', async t => {
  let pages = 0
  const { error } = watched(t, () => ({ lines: list('1', [], `${++pages}`) }))
  await eventually(() => assert.match(String(error()?.message), /the pages are empty; is this an API server/))
  t.ok(pages < 200)
})

t.test('what a cluster sends is read no faster than it may', async t => {
  const chunks = Array.from({ length: 10 }, () => ' '.repeat(10_000))
  const lines = ['{"items":[', ...chunks, '],"metadata":{"resourceVersion":"1"}}']
  const { clock, calls } = watched(t, ({ query }) => ({ lines: query?.watch ? open(t) : lines }), { rate: 10_000 })
  await clock.advance(7000)
  t.same(calls, [])
  await clock.advance(3000)
  await eventually(() => assert.deepEqual(calls, ['listed']), 5000)
})

t.test('objects that are gone are not counted', async t => {
  const lines = [
    ...Array.from(
      { length: 50 },
      (_, i) => event('ADDED', object(`s${i}`, `${2 * i + 2}`)) + event('DELETED', object(`s${i}`, `${2 * i + 3}`)),
    ),
  ]
  const { calls, states, budget } = watched(
    t,
    ({ query }) => ({ lines: query?.watch ? open(t, ...lines) : list('1', []) }),
    { objects: 3 },
  )
  await eventually(() => assert.equal(calls.length, 101))
  t.same([budget.objects, budget.bytes], [0, 0])
  t.equal(states.at(-1)?.state, 'watching')
})
