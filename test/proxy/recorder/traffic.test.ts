/** Rates, percentiles and shares by service, cluster and client. */
import t from 'tap'
import { clientTraffic } from '../../../proxy/recorder/clients.ts'
import { TrafficCounts } from '../../../proxy/recorder/traffic-counts.ts'
import { here, other, service, stage, there } from './stage.ts'

function counting() {
  const all = stage()
  const counts = new TrafficCounts(all.directory, all.clock)
  const done = { sent: 100, received: 1000, ms: 5, reason: 'done' } as const
  return { ...all, counts, done }
}

t.test('rates are of the last spans, and history is five minutes', async t => {
  const { counts, clock, newFlow, done } = counting()
  for (let i = 0; i < 50; i++) {
    const flow = newFlow()
    counts.result(flow, i % 2 ? here : there, { outcome: 'connected', ms: i % 2 ? 1 : 100 })
    if (i < 40) counts.closed(flow, i % 2 ? here : there, done)
  }
  await clock.advance(5000)
  const [first] = counts.services()
  t.match(first, {
    namespace: 'default',
    name: 'rebel-base',
    perSecond: 10,
    open: 10,
    failed: 0,
    refused: 0,
    history: [50],
  })
  t.equal(first?.sentPerSecond, 800)
  t.equal(first?.receivedPerSecond, 8000)
  t.same(
    first?.clusters.map(({ cluster, perSecond }) => [cluster, perSecond]),
    [
      ['cluster-2', 5],
      ['cluster-1', 5],
    ],
  )
  const [far, near] = first?.clusters ?? []
  t.ok((near?.dialP99 ?? 0) >= 1 && (near?.dialP99 ?? 0) < 1.3, `${near?.dialP99} ms is at most a quarter more than 1`)
  t.ok((far?.dialP50 ?? 0) >= 100 && (far?.dialP50 ?? 0) < 130)
  await clock.advance(10_000)
  t.match(counts.services(), [{ perSecond: 0, open: 10, history: [50, 0, 0] }])
  await clock.advance(300_000)
  t.equal(counts.services()[0]?.history.length, 60)
  t.notOk(counts.services()[0]?.dialP99, 'nothing was dialled for minutes')
})

t.test('bytes count while a flow is open, and each once', async t => {
  const { counts, clock, newFlow } = counting()
  const flow = newFlow()
  counts.result(flow, here, { outcome: 'connected', ms: 1 })
  const told = { sent: 5000, received: 500 }
  counts.carried(flow, here, told, told)
  await clock.advance(5000)
  t.match(counts.services(), [{ open: 1, sentPerSecond: 1000, receivedPerSecond: 100 }])
  counts.closed(flow, here, { sent: 5500, received: 500, ms: 9, reason: 'done', told })
  await clock.advance(10_000)
  t.match(counts.services(), [{ open: 0, sentPerSecond: 0 }])
  const [cluster] = counts.clusters()
  t.equal(cluster?.sentPerSecond, 0)
})

t.test('failed attempts and refusals are shares', async t => {
  const { counts, newFlow, clock } = counting()
  for (let i = 0; i < 3; i++) counts.result(newFlow(), here, { outcome: 'connected', ms: 1 })
  counts.result(newFlow(), here, { outcome: 'timeout', ms: 1 })
  counts.result(newFlow(), here, { outcome: 'cancelled', ms: 1 })
  counts.refused(newFlow(), { code: 'tenancy', why: 'no' })
  counts.result(newFlow({}, other), there, { outcome: 'refused', ms: 1 })
  await clock.advance(1000)
  t.match(counts.services(), [
    { name: 'rebel-base', failed: 0.25, refused: 0.25, perSecond: 3 },
    { name: 'cart', failed: 1, perSecond: 0 },
  ])
  t.match(counts.clusters(), [
    { cluster: 'cluster-1', failed: 0.25 },
    { cluster: 'cluster-2', failed: 1 },
  ])
})

t.test('counts go with their service', async t => {
  const { counts, newFlow, directory, clock } = counting()
  const flow = newFlow()
  counts.result(flow, here, { outcome: 'connected', ms: 1 })
  directory.remove(service.key)
  t.same(counts.services(), [])
  counts.closed(flow, here, { sent: 1, received: 1, ms: 1, reason: 'removed' })
  t.same(counts.services(), [], 'the last flows of a service that is gone make no new row')
  counts.close()
  t.equal(clock.waiting, 0)
})

t.test('clients are those of the records of the last minute', async t => {
  const { recorder, names, clock, newFlow, connect } = stage()
  connect(newFlow({ client: { address: '10.9.9.9', port: 1 } }), here)
  await clock.advance(70_000)
  for (let i = 0; i < 4; i++) {
    const flow = newFlow({ client: { address: '10.1.0.1', port: i } }, i === 3 ? other : service)
    connect(flow, here)
    if (i === 0) recorder.closed(flow, here, { sent: 5, received: 7, ms: 1, reason: 'done' })
  }
  recorder.refused(newFlow({ client: { address: '10.1.0.7', port: 1 } }), { code: 'tenancy', why: 'no' })
  await clock.advance(1000)
  t.match(clientTraffic(recorder, names, clock), [
    {
      address: '10.1.0.1',
      pod: 'web-1',
      open: 3,
      sent: 5,
      received: 7,
      services: [
        { service: 'default/rebel-base', flows: 3 },
        { service: 'shop/cart', flows: 1 },
      ],
    },
    { address: '10.1.0.7', refused: 1, perSecond: 0 },
  ])
})
