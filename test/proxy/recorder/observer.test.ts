/** Who watches flows: filters, what has passed, what passes. */
import t from 'tap'
import type { FlowEvent } from '../../../proxy/model/flow-record.ts'
import { type FlowQuery, parseFlowQuery } from '../../../proxy/recorder/filter.ts'
import { flowOf, here, lostIn, other, stage, there } from './stage.ts'

function query(text: string): FlowQuery {
  const parsed = parseFlowQuery(new URLSearchParams(text))
  if (typeof parsed === 'string') throw new Error(parsed)
  return parsed
}

async function traffic() {
  const all = stage()
  const { recorder, newFlow, connect, ask, clock, observers } = all
  connect(newFlow({ client: { address: '10.1.0.1', port: 1 } }), here)
  await clock.advance(1000)
  connect(newFlow({ client: { address: '10.1.0.9', port: 2 } }, other), there)
  await clock.advance(1000)
  recorder.refused(newFlow({ client: { address: '10.9.0.9', port: 3 } }), { code: 'tenancy', why: 'no' })
  await clock.advance(1000)
  ask('cart.shop.svc.cluster.local')
  const ports = (text: string) =>
    observers
      .past(query(text))
      .flatMap(flowOf)
      .map(({ l4 }) => ('TCP' in l4 ? l4.TCP : l4.UDP).source_port)
  return { ...all, ports }
}

t.test('each filter keeps what it names, and all that are given must hold', async t => {
  const { ports } = await traffic()
  const cases: Record<string, number[]> = {
    '': [1, 2, 3, 5000],
    'service=rebel-base': [1, 3],
    'service=shop/cart': [2, 5000],
    'service=shop/*,default/rebel-base': [1, 2, 3, 5000],
    'from=10.1.0.9': [2],
    'from=10.1.0.0/24': [1, 2, 5000],
    'from=default/web-': [1, 5000],
    'from=default/': [1, 5000],
    'to=10.2.0.0/16': [2],
    'to=127.96.0.10': [1, 2, 3],
    'to=default/web-1': [1],
    'cluster=cluster-2': [2],
    'verdict=refused': [3],
    'verdict=DROPPED&verdict=forwarded': [1, 2, 3, 5000],
    'code=tenancy': [3],
    dns: [5000],
    'kind=connection': [1, 2, 3],
    'kind=connection&from=10.1.0.0/16&cluster=cluster-1': [1],
    'last=2': [3, 5000],
    'since=2500ms': [2, 3, 5000],
    'since=1500ms&last=1': [5000],
  }
  for (const [text, expected] of Object.entries(cases)) t.same(ports(text), expected, text)
})

t.test('what is wrong with a query is said, with what is right', async t => {
  const wrong: Record<string, RegExp> = {
    'servce=x': /servce is not a filter of flows.*did you mean.*service/,
    'verdict=refusd': /verdict=refusd is not one.*refused/,
    'from=a b': /from=a b is neither an address.*NAMESPACE\/POD/,
    'to=Ä': /to=Ä is neither/,
    'kind=tcp': /kind=tcp is not one; write connection/,
    'last=x': /last=x is not a number/,
    'since=5': /since=5 is not a duration; write since=5m/,
    'follow=maybe': /true or false/,
  }
  for (const [text, message] of Object.entries(wrong)) {
    t.match(parseFlowQuery(new URLSearchParams(text)), message, text)
  }
})

t.test('who asks for more than is kept is told how many are gone', async t => {
  const { newFlow, connect, observers } = stage({ size: 8 })
  for (let i = 0; i < 11; i++) connect(newFlow(), here)
  t.equal(lostIn(observers.past(query('last=100'))), 3)
  t.equal(lostIn(observers.past(query('last=5'))), 0)
})

t.test('a follower gets each flow when it opens and when it ends, and only what it asked for', async t => {
  const { recorder, newFlow, connect, observers, clock, ask } = stage()
  const seen: FlowEvent[] = []
  const stop = observers.follow(query('cluster=cluster-2'), events => seen.push(...events))
  const [long, short] = [newFlow({ client: { address: '10.1.0.9', port: 1 } }), newFlow()]
  connect(long, there)
  connect(newFlow(), here)
  connect(short, there)
  recorder.closed(short, there, { sent: 1, received: 1, ms: 1, reason: 'done' })
  ask('a.b.svc.cluster.local')
  await clock.advance(200)
  const states = () => seen.flatMap(flowOf).map(({ starlane }) => starlane.state)
  t.same(states(), ['open', 'ended'], 'a flow that ends within a tick is seen once')
  recorder.closed(long, there, { sent: 1, received: 1, ms: 1, reason: 'done' })
  await clock.advance(200)
  t.same(states(), ['open', 'ended', 'ended'])
  stop()
  connect(newFlow(), there)
  await clock.advance(1000)
  t.equal(seen.length, 3)
  t.equal(recorder.touchedFlows.followed, false)
  t.equal(clock.waiting, 0, 'nothing ticks when nobody follows')
})

t.test('a follower is told what it has lost', async t => {
  const { newFlow, connect, observers, clock } = stage({ size: 8, rate: 1_000_000 })
  const seen: FlowEvent[] = []
  observers.follow(query('follow'), events => seen.push(...events))
  for (let i = 0; i < 20; i++) connect(newFlow(), here)
  await clock.advance(200)
  t.equal(seen.flatMap(flowOf).length, 8)
  t.equal(lostIn(seen), 12)

  const sampled = stage({ rate: 10 })
  const got: FlowEvent[] = []
  sampled.observers.follow(query('follow'), events => got.push(...events))
  for (let i = 0; i < 17; i++) sampled.connect(sampled.newFlow(), here)
  await sampled.clock.advance(200)
  t.equal(got.flatMap(flowOf).length, 2)
  t.match(got.at(-1), { lost_events: { source: 'HUBBLE_RING_BUFFER', num_events_lost: 15 } })
})
