/** What is recorded of flows and questions, and how it reads as JSON. */
import t from 'tap'
import type { FlowEvent } from '../../../proxy/model/flow-record.ts'
import { flowOf, here, service, stage, there } from './stage.ts'

t.test('a connection is one record: open once it is connected, complete when it ends', async t => {
  const { recorder, flows, newFlow, connect, clock } = stage()
  const flow = newFlow({ client: { address: '10.1.0.9', port: 4000 } })
  await clock.advance(1000)
  connect(flow, there, 5)
  const [open] = flows()
  t.match(open, {
    verdict: 'FORWARDED',
    time: new Date(clock.wall() - 5).toISOString(),
    IP: { source: '10.1.0.9', destination: '10.2.0.1', ipVersion: 'IPv4' },
    l4: { TCP: { source_port: 4000, destination_port: 8080 } },
    source: { cluster_name: 'cluster-1' },
    destination: { cluster_name: 'cluster-2', namespace: 'default' },
    destination_service: { namespace: 'default', name: 'rebel-base' },
    node_name: 'node-1',
    is_reply: false,
    starlane: {
      kind: 'connection',
      state: 'open',
      outcome: 'forwarded',
      service: 'default/rebel-base',
      frontend: '127.96.0.10:80/TCP',
      backend: there.key,
      cluster: 'cluster-2',
      route: 'tunnel',
      attempts: 1,
      dial_ms: 5,
    },
  })
  t.notOk(open && 'close_reason' in open.starlane)
  await clock.advance(250)
  recorder.closed(flow, there, { sent: 10, received: 2 ** 40, ms: 250, reason: 'client-reset' })
  const all = flows()
  t.equal(all.length, 1)
  t.equal(all[0]?.uuid, open?.uuid, 'it is the same record')
  t.equal(all[0]?.time, open?.time)
  t.match(all[0]?.starlane, {
    state: 'ended',
    sent: 10,
    received: 2 ** 40,
    duration_ms: 250,
    close_reason: 'client-reset',
  })
})

t.test('an open flow shows its bytes until now, and followers who ask for it get them as they pass', async t => {
  const { recorder, observers, flows, newFlow, connect, clock } = stage()
  const plain: FlowEvent[] = []
  const live: FlowEvent[] = []
  const query = { matches: () => true, last: undefined, sinceMs: undefined, follow: true }
  t.teardown(observers.follow(query, events => void plain.push(...events)))
  t.teardown(observers.follow({ ...query, progress: true }, events => void live.push(...events)))
  const flow = newFlow()
  connect(flow, there)
  t.match(flows(), [{ starlane: { state: 'open', sent: 0, received: 0 } }])
  await clock.advance(200)
  recorder.carried(flow, there, { sent: 120, received: 4000 })
  recorder.carried(flow, there, { sent: 150, received: 2 ** 40 })
  t.match(flows(), [{ starlane: { state: 'open', sent: 150, received: 2 ** 40, close_reason: undefined } }])
  await clock.advance(200)
  recorder.closed(flow, there, { sent: 151, received: 2 ** 40, ms: 400, reason: 'done' })
  await clock.advance(200)
  t.match(flows(), [{ starlane: { state: 'ended', sent: 151, received: 2 ** 40 } }])
  const sentIn = (events: readonly FlowEvent[]) => events.flatMap(flowOf).map(({ starlane }) => starlane.sent)
  t.same(sentIn(live), [0, 150, 151])
  t.same(sentIn(plain), [0, 151])
})

t.test('a record that is used again forgets the bytes of the flow before', t => {
  const { recorder, flows, newFlow, connect } = stage({ size: 2 })
  const first = newFlow()
  connect(first, there)
  recorder.carried(first, there, { sent: 9, received: 9 })
  for (let i = 0; i < 2; i++) connect(newFlow(), there)
  recorder.carried(first, there, { sent: 10, received: 10 })
  t.match(flows(), [{ starlane: { sent: 0, received: 0 } }, { starlane: { sent: 0, received: 0 } }])
  t.end()
})

t.test('pods are named where an endpoint names them', async t => {
  const { flows, newFlow, connect } = stage()
  connect(newFlow({ client: { address: '10.1.0.1', port: 1 } }), here)
  const pod = { cluster_name: 'cluster-1', namespace: 'default', pod_name: 'web-1' }
  t.match(flows(), [{ source: pod, destination: pod }])
})

t.test('failed attempts count, and the flow is one record', async t => {
  const { recorder, flows, newFlow, connect } = stage()
  const flow = newFlow()
  recorder.result(flow, here, { outcome: 'refused', ms: 1 })
  t.match(flows(), [
    { verdict: 'ERROR', starlane: { state: 'open', outcome: 'failed', dial_outcome: 'refused', attempts: 1 } },
  ])
  connect(Object.assign(flow, { tried: [here.key] }), there)
  t.match(flows(), [{ verdict: 'FORWARDED', starlane: { attempts: 2, backend: there.key, outcome: 'forwarded' } }])

  const lost = newFlow()
  recorder.result(lost, here, { outcome: 'timeout', ms: 1000 })
  recorder.refused(lost, { code: 'no-backend', why: '1 attempt failed' })
  t.match(flows()[1], {
    verdict: 'ERROR',
    drop_reason_desc: undefined,
    starlane: { state: 'ended', outcome: 'failed', dial_outcome: 'timeout', refusal: { code: 'no-backend' } },
  })
})

t.test('a refusal is DROPPED, with its plugin and rule and the reason that Hubble has for it', async t => {
  const { recorder, flows, newFlow } = stage()
  for (const refusal of [
    { code: 'policy', why: 'no rule allows it', rule: 'shop/deny-all' },
    { code: 'no-backend', why: 'there is none' },
    { code: 'limit', why: '10 connections are open, the limit' },
    { code: 'draining', why: 'stopping' },
    { code: 'loop', why: 'a frontend itself' },
  ])
    recorder.refused(newFlow(), refusal)
  t.match(flows(), [
    {
      verdict: 'DROPPED',
      drop_reason_desc: 'POLICY_DENIED',
      IP: { destination: '127.96.0.10' },
      starlane: { outcome: 'refused', attempts: 0, refusal: { code: 'policy', rule: 'shop/deny-all' } },
    },
    { drop_reason_desc: 'SERVICE_BACKEND_NOT_FOUND' },
    { drop_reason_desc: 'CT_MAP_INSERTION_FAILED' },
    { drop_reason_desc: 'DROP_HOST_NOT_READY' },
    { drop_reason_desc: 'IS_A_CLUSTERIP' },
  ])
})

t.test('a client that leaves while its backend is dialled has no verdict', async t => {
  const { recorder, flows, newFlow } = stage()
  recorder.result(newFlow(), here, { outcome: 'cancelled', ms: 3 })
  t.match(flows(), [{ verdict: 'VERDICT_UNKNOWN', starlane: { outcome: 'cancelled', state: 'ended' } }])
})

t.test('a UDP session that moves has a record for each backend', async t => {
  const { recorder, flows, newFlow, connect } = stage()
  const frontend = { ...service.frontends[0], key: '127.96.0.10:53/UDP', protocol: 'UDP' as const, port: 53 }
  const session = newFlow({ frontend: frontend as never })
  connect(session, here)
  recorder.closed(session, here, { sent: 1, received: 2, ms: 3, reason: 'drained' })
  connect(session, there)
  t.match(flows(), [
    { l4: { UDP: {} }, starlane: { kind: 'session', backend: here.key, close_reason: 'drained' } },
    { starlane: { kind: 'session', backend: there.key, state: 'open' } },
  ])
})

t.test('the oldest are overwritten; a long connection is recorded anew when it ends', async t => {
  const { recorder, flows, newFlow, connect } = stage({ size: 8 })
  const long = newFlow()
  connect(long, there)
  for (let i = 0; i < 8; i++) connect(newFlow({ client: { address: '10.1.0.9', port: i } }), here)
  t.equal(flows().length, 8)
  t.notOk(flows().some(({ starlane }) => starlane.backend === there.key))
  recorder.closed(long, there, { sent: 1, received: 2, ms: 3, reason: 'done' })
  t.match(flows().at(-1), { starlane: { backend: there.key, state: 'ended', close_reason: 'done' } })
  t.equal(flows().length, 8)
})

t.test(
  'beyond the rate one in sixteen is recorded, failures have a rate of their own, and the loss is counted',
  async t => {
    const { recorder, flows, newFlow, connect, clock, ask } = stage({ size: 1024, rate: 100 })
    for (let i = 0; i < 170; i++) {
      const flow = newFlow()
      connect(flow, here)
      recorder.closed(flow, here, { sent: 0, received: 0, ms: 1, reason: 'done' })
    }
    t.equal(flows().length, 10 + 10, 'a tenth of the rate in a tenth of a second, and one of sixteen')
    t.same(recorder.skipped, { flows: 150, questions: 0 })
    recorder.refused(newFlow(), { code: 'policy', why: 'no' })
    t.equal(flows().length, 21)
    await clock.advance(100)
    connect(newFlow(), here)
    t.equal(flows().length, 22, 'in the next span all are recorded again')
    for (let i = 0; i < 170; i++) ask('a.b.svc.cluster.local')
    t.same(recorder.skipped, { flows: 150, questions: 150 })
  },
)

t.test('a DNS question has its name, type, answer and service', async t => {
  const { ask, flows } = stage()
  ask('Rebel-Base.default.svc.cluster.local')
  ask('_http._tcp.cart.shop.svc.cluster.local', { type: 33, rcode: 3 })
  ask('www.example.org', { rcode: 2, zone: '.' })
  ask('bad\x07 name', { rcode: 5, zone: 'dropped' })
  t.match(flows(), [
    {
      verdict: 'FORWARDED',
      Type: 'L7',
      is_reply: true,
      IP: { source: '10.1.0.1', destination: '127.0.0.1' },
      l4: { UDP: { source_port: 5000, destination_port: 53 } },
      source: { pod_name: 'web-1' },
      destination_service: { namespace: 'default', name: 'rebel-base' },
      l7: { latency_ns: 500_000, dns: { query: 'rebel-base.default.svc.cluster.local.', qtypes: ['A'], rcode: 0 } },
      starlane: { kind: 'question', service: 'default/rebel-base', zone: 'cluster.local.', transport: 'udp' },
    },
    { verdict: 'FORWARDED', l7: { dns: { rcode: 3 } }, starlane: { service: 'shop/cart' } },
    { verdict: 'ERROR', destination_service: undefined, starlane: { outcome: 'failed', service: undefined } },
    { verdict: 'DROPPED', l7: { dns: { query: 'bad??name.' } } },
  ])
})
