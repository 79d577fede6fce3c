/** The counters of the responder, by zone, transport, family, type and rcode. */
import t from 'tap'
import { FakeDirectory, globalService } from '../../support/model.ts'
import { ask, laptop, responder } from './dns.ts'
import { a, fakeUpstream } from './upstream.ts'

const service = 'rebel-base.default.svc.cluster.local'
t.test('counters', async t => {
  const upstream = await fakeUpstream(t, ({ name }) => ({ answers: [a(name, '192.0.2.1')] }))
  const dns = responder(new FakeDirectory(globalService()), { upstream: [upstream.text] })
  await dns.start()
  t.teardown(() => dns.close())
  await ask(dns, service, 'A')
  await ask(dns, service, 'A', { transport: 'tcp' })
  await ask(dns, service, 'UNKNOWN_4711', { client: { address: 'fd00::1', port: 1 } })
  await ask(dns, 'nobody.default.svc.cluster.local', 'A', { edns: 1232 })
  for (let i = 0; i < 3; i++) await ask(dns, 'example.org', 'A')
  dns.respond(Buffer.alloc(5), laptop, 'udp')
  dns.respond(Buffer.alloc(12), laptop, 'udp')
  const stats = dns.stats()
  t.same(stats.requests.map(r => `${r.zone} ${r.transport}${r.family} ${r.type} ${r.count}`).sort(), [
    '. udp4 A 3',
    'cluster.local tcp4 A 1',
    'cluster.local udp4 A 2',
    'cluster.local udp6 other 1',
  ])
  t.same(stats.responses.map(r => `${r.zone} ${r.rcode} ${r.count}`).sort(), [
    '. NOERROR 3',
    'cluster.local NOERROR 3',
    'cluster.local NXDOMAIN 1',
    'dropped FORMERR 1',
  ])
  t.match(stats, { dropped: 1, answerCache: { hits: 1, entries: 4 }, cache: { hits: 2, misses: 1, entries: 1 } })
  t.match(stats.upstreams, [{ name: upstream.text, state: 'up', requests: 1, failures: 0, rcodes: { NOERROR: 1 } }])
  const zone = stats.zones.find(z => z.zone === 'cluster.local')
  for (const distribution of [zone?.duration, zone?.requestBytes, zone?.responseBytes]) {
    t.equal(
      distribution?.counts.reduce((sum, n) => sum + n, 0),
      4,
    )
    t.equal(distribution?.counts.length, (distribution?.bounds.length ?? 0) + 1)
  }
  t.ok((zone?.responseBytes.sum ?? 0) > 200)
})
