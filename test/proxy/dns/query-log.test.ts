/** What an operator sees: counters, the query log, explanations; and the rate that a client is held to. */
import dnsPacket from 'dns-packet'
import t from 'tap'
import { parseCidr } from '../../../proxy/model/address.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { FakeClock } from '../../support/clock.ts'
import { backend, clusterService, FakeDirectory, globalService } from '../../support/model.ts'
import { allVisible, ask, laptop, queryBytes, responder, told } from './dns.ts'
import { a, fakeUpstream } from './upstream.ts'

const service = 'rebel-base.default.svc.cluster.local'
const web = globalService({
  name: 'web',
  local: clusterService({ name: 'web', headless: true }),
  frontends: [],
  backends: [backend({ address: '10.1.0.1' }), backend({ address: '10.1.0.2', state: 'terminating' })],
})

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

t.test('the query log tells of the clients and names that were asked for', async t => {
  const lines: unknown[] = []
  const log = { ...silentLog, info: (event: string, fields?: object) => lines.push({ event, ...fields }) }
  const dns = responder(new FakeDirectory(globalService()), {}, { log })
  const friend = { address: '10.0.0.7', port: 1 }
  await ask(dns, service, 'A', { client: friend })
  t.same(lines, [], 'off by default')
  dns.logQueries({ clients: [parseCidr('10.0.0.0/24')].flatMap(c => c ?? []), names: ['default.svc.cluster.local'] })
  await ask(dns, service, 'A')
  await ask(dns, 'cluster.local', 'SOA', { client: friend })
  t.same(lines, [])
  await ask(dns, service, 'AAAA', { client: friend, transport: 'tcp' })
  t.match(lines, [
    {
      event: 'dns.query',
      client: '10.0.0.7',
      name: service,
      type: 'AAAA',
      transport: 'tcp',
      zone: 'cluster.local',
      rcode: 'NOERROR',
    },
  ])
  dns.logQueries({})
  await ask(dns, 'example.org', 'A')
  t.match(lines[1], { zone: '.', rcode: 'REFUSED' })
  dns.logQueries(undefined)
  await ask(dns, service, 'A')
  t.equal(lines.length, 2)
})

t.test('an explanation shows the answer and the way to it', async t => {
  const upstream = await fakeUpstream(t, ({ name }) => ({ answers: [a(name, '192.0.2.1')] }))
  const hidden = globalService({ name: 'secret', local: clusterService({ name: 'secret' }) })
  const visibility = {
    ...allVisible,
    admit: (_client: unknown, { name }: { name: string }) =>
      name === 'secret' ? { code: 'tenancy', why: 'not of your tenant' } : undefined,
  }
  const far = globalService({ name: 'far', local: undefined, members: [clusterService({ cluster: 'cluster-2' })] })
  const alias = globalService({
    name: 'alias',
    local: clusterService({ name: 'alias', type: 'ExternalName', externalName: 'example.org' }),
    frontends: [],
  })
  const dns = responder(
    new FakeDirectory(globalService(), web, hidden, far, alias),
    { upstream: [upstream.text], routes: { 'corp.example': [upstream.text] } },
    { visibility: visibility },
  )
  await dns.start()
  t.teardown(() => dns.close())
  const explain = (name: string, type = 'A') => dns.explain(name, type, laptop)

  t.match(await explain('rebel-base'), {
    name: 'rebel-base',
    type: 'A',
    rcode: 'NOERROR',
    authoritative: true,
    answers: [`rebel-base. 5 IN CNAME ${service}.`, `${service}. 5 IN A 127.96.0.10`],
    way: ['zone cluster.local', /default\/rebel-base has a virtual address/],
  })
  t.match(await explain('web.default.svc.cluster.local'), {
    way: [/./, /headless, of cluster-1; this client may see 2 backends, 1 of them ready/],
  })
  t.match(await explain('secret.default.svc.cluster.local'), {
    rcode: 'NXDOMAIN',
    authority: [
      /^cluster\.local\. 5 IN SOA ns\.dns\.cluster\.local\. hostmaster\.cluster\.local\. \d+ 7200 1800 86400 5$/,
    ],
    way: ['zone cluster.local', /hidden from this client by tenancy: not of your tenant/, 'the name does not exist'],
  })
  t.match(await explain('far.default.svc.cluster.local'), {
    way: [/./, /in cluster-2 only: without a local Service/, /./],
  })
  t.match(await explain('default.svc.cluster.local'), {
    way: [/./, 'namespace default exists', /without records of this type/],
  })
  t.match(await explain('Example.org'), {
    authoritative: false,
    answers: ['example.org. 60 IN A 192.0.2.1'],
    way: ['not in our zones', /resolvers for all other names: .*\(up\)/, `asked ${upstream.text}`],
  })
  t.match((await explain('example.org')).way.at(-1), /from the cache, received 0 s ago/)
  t.match(await explain('a.corp.example'), { way: [/./, /resolvers for corp\.example/, /./] })
  t.match(await explain('alias.default.svc.cluster.local'), {
    answers: ['alias.default.svc.cluster.local. 5 IN CNAME example.org.', 'example.org. 60 IN A 192.0.2.1'],
    way: [/./, /is an alias to example\.org/, /leads out of our zones, to example\.org/, /./, /from the cache/],
  })
  upstream.script = () => ({ rcode: 2 })
  t.match(await explain('broken.example'), {
    rcode: 'SERVFAIL',
    way: [/./, /./, /no answer: .* answered with an error/],
  })
  t.match(await explain('x', 'NOPE'), { rcode: 'FORMERR', way: [/NOPE is no record type/] })
  t.match(await explain('a..b'), { way: [/no valid domain name/] })
})

t.test('every type is printed as dig prints it, and what is broken does no harm', async t => {
  const answers: dnsPacket.Answer[] = [
    { type: 'AAAA', name: 'x.example', data: 'fd00::1', ttl: 1 },
    { type: 'MX', name: 'x.example', data: { preference: 10, exchange: 'mail.x.example' }, ttl: 1 },
    { type: 'SRV', name: 'x.example', data: { priority: 1, weight: 2, port: 3, target: 'srv.x.example' }, ttl: 1 },
    { type: 'TXT', name: 'x.example', data: ['two', 'words'], ttl: 1 },
    { type: 'CAA', name: 'x.example', data: { flags: 0, tag: 'issue', value: 'ca' }, ttl: 1 },
  ]
  const upstream = await fakeUpstream(t, () => ({ answers }))
  const dns = responder(new FakeDirectory(), { upstream: [upstream.text] })
  await dns.start()
  t.teardown(() => dns.close())
  t.same((await dns.explain('x.example', 'MX', laptop)).answers, [
    'x.example. 1 IN AAAA fd00::1',
    'x.example. 1 IN MX 10 mail.x.example.',
    'x.example. 1 IN SRV 1 2 3 srv.x.example.',
    'x.example. 1 IN TXT "two" "words"',
    'x.example. 1 IN CAA \\# 9 00056973737565 6361'.replace(' 6361', '6361'),
  ])
})

t.test('a client over its rate hears little, and is pointed to TCP', async t => {
  const clock = new FakeClock()
  const dns = responder(new FakeDirectory(globalService()), { rate: { perSecond: 10, burst: 5, slip: 2 } }, { clock })
  const verdicts = (address: string, n: number) =>
    Array.from({ length: n }, () => {
      const reply = dns.respond(queryBytes(service, 'A', { edns: 1232 }), { address, port: 1 }, 'udp')
      if (!(reply instanceof Buffer)) return '-'
      const packet = dnsPacket.decode(reply)
      return packet.flag_tc ? `TC${packet.answers?.length}` : told(packet)
    })
  const full = 'A 127.96.0.10'
  t.same(verdicts('10.0.0.1', 9), [full, full, full, full, full, '-', 'TC0', '-', 'TC0'])
  t.same(verdicts('10.0.0.2', 1), [full], 'others are not touched')
  t.same(
    verdicts('fd00::1', 5).concat(verdicts('fd00:0:0:0:1::2', 1)),
    [full, full, full, full, full, '-'],
    'an IPv6 /64 is one client',
  )
  t.equal(told(await ask(dns, service, 'A', { client: { address: '10.0.0.1', port: 1 }, transport: 'tcp' })), full)
  await clock.advance(200)
  t.same(verdicts('10.0.0.1', 3), [full, full, '-'])
  t.equal(dns.stats().limited, 6)
})
