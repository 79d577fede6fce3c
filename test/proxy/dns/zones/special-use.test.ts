/** Special-use names never reach an upstream, and are answered as their RFCs say. */
import dnsPacket from 'dns-packet'
import t, { type Test } from 'tap'
import type { DnsOptions } from '../../../../proxy/dns/options.ts'
import { clusterService, FakeDirectory, globalService } from '../../../support/model.ts'
import { ask, responder, told } from '../dns.ts'
import { a, fakeUpstream } from '../upstream.ts'

const alias = globalService({
  name: 'here',
  local: clusterService({ name: 'here', type: 'ExternalName', externalName: 'db.localhost', ports: [] }),
  frontends: [],
})

async function started(t: Test, options: Partial<DnsOptions> = {}, ...services: Parameters<typeof globalService>[0][]) {
  const upstream = await fakeUpstream(t, ({ name, type }) => ({ answers: type === 'A' ? [a(name, '192.0.2.1')] : [] }))
  const directory = new FakeDirectory(globalService(), alias, ...services.map(globalService))
  const dns = responder(directory, { upstream: [upstream.text], ...options })
  await dns.start()
  t.teardown(() => dns.close())
  return { dns, upstream, directory }
}

const ip6 = (first: string, rest: string) => `${first}.${'0.'.repeat(32 - 1 - rest.split('.').length)}${rest}.ip6.arpa`

const cases: readonly (readonly [name: string, type: string, expected: string])[] = [
  ['localhost', 'A', 'A 127.0.0.1'],
  ['localhost', 'AAAA', 'AAAA ::1'],
  ['LocalHost', 'TXT', 'NODATA'],
  ['localhost', 'SOA', 'SOA ns.dns.cluster.local'],
  ['a.b.localhost', 'A', 'A 127.0.0.1'],
  ['a.localhost', 'UNKNOWN_65', 'NODATA'],
  ['localhost.default.svc.cluster.local', 'A', 'A 127.0.0.1'],
  ['localhost.default.svc.cluster.local', 'AAAA', 'AAAA ::1'],
  ['localhost.nowhere.svc.cluster.local', 'A', 'A 127.0.0.1'],
  ['localhost.svc.cluster.local', 'A', 'A 127.0.0.1'],
  ['db.localhost.svc.cluster.local', 'A', 'A 127.0.0.1'],
  ['localhost.cluster.local', 'AAAA', 'AAAA ::1'],
  ['here.default.svc.cluster.local', 'A', 'CNAME db.localhost, A 127.0.0.1'],
  ['invalid', 'A', 'NXDOMAIN'],
  ['x.invalid', 'MX', 'NXDOMAIN'],
  ['onion', 'SOA', 'NXDOMAIN'],
  ['facebookcorewwwi.ONION', 'AAAA', 'NXDOMAIN'],
  ['x.onion.default.svc.cluster.local', 'A', 'NXDOMAIN'],
  ['printer.local', 'A', 'NXDOMAIN'],
  ['_http._tcp.local', 'PTR', 'NXDOMAIN'],
  ['x.alt', 'A', 'NXDOMAIN'],
  ['home.arpa', 'A', 'NODATA'],
  ['nas.home.arpa', 'A', 'NXDOMAIN'],
  ['default.service.arpa', 'A', 'NXDOMAIN'],
  ['_dns.resolver.arpa', 'UNKNOWN_64', 'NODATA'],
  ['1.0.0.127.in-addr.arpa', 'PTR', 'PTR localhost'],
  ['2.0.0.127.in-addr.arpa', 'PTR', 'NXDOMAIN'],
  [ip6('1', '0'), 'PTR', 'PTR localhost'],
  ['254.169.254.169.in-addr.arpa', 'PTR', 'NXDOMAIN'],
  [ip6('1', '0.8.e.f'), 'PTR', 'NXDOMAIN'],
  [ip6('1', '8.b.d.0.1.0.0.2'), 'PTR', 'NXDOMAIN'],
  [ip6('1', '1.0.f.f.f.3'), 'PTR', 'NXDOMAIN'],
  ['255.255.255.255.in-addr.arpa', 'PTR', 'NODATA'],
]

t.test('answered here', async t => {
  const { dns, upstream } = await started(t)
  for (const [name, type, expected] of cases) t.equal(told(await ask(dns, name, type)), expected, `${name} ${type}`)
  const denied = await ask(dns, 'x.invalid', 'A', { edns: 1232 })
  t.match(denied.authorities, [{ type: 'SOA', name: 'invalid' }], 'cacheable')
  t.equal(told(await ask(dns, 'localhost', 'A', { flags: 0 })), 'A 127.0.0.1', 'also without recursion')
  t.same(upstream.heard, [], 'and nothing was forwarded')
})

t.test('forwarded: what only looks like them, `test`, and the proof that home.arpa is not signed', async t => {
  const { dns, upstream } = await started(t)
  for (const name of ['localhost.example.org', 'notlocalhost', 'xonion', 'onion.example', 'db.test', 'example.com'])
    t.equal(told(await ask(dns, name, 'A')), 'A 192.0.2.1', name)
  await ask(dns, 'home.arpa', 'DS')
  t.match(upstream.heard.at(-1), { name: 'home.arpa', type: 'DS' })
  await ask(dns, '8.8.8.8.in-addr.arpa', 'PTR')
  t.equal(upstream.heard.length, 8)
})

t.test('options for those who must forward them: the list, or resolvers of their own', async t => {
  const some = await started(t, { specialUse: ['test', 'localhost'] })
  t.equal(told(await ask(some.dns, 'x.onion', 'A')), 'A 192.0.2.1')
  t.equal(told(await ask(some.dns, 'db.test', 'A')), 'NXDOMAIN')
  const corp = await fakeUpstream(t, ({ name }) => ({ answers: [a(name, '192.0.2.9')] }))
  const routed = await started(t, { routes: { 'corp.local': [corp.text], onion: [corp.text] } })
  for (const name of ['dc.corp.local', 'corp.local', 'x.onion'])
    t.equal(told(await ask(routed.dns, name, 'A')), 'A 192.0.2.9', name)
  t.equal(told(await ask(routed.dns, 'xcorp.local', 'A')), 'NXDOMAIN')
  t.equal(told(await ask(routed.dns, 'local', 'A')), 'NXDOMAIN')
  const none = await started(t, { specialUse: [] })
  t.equal(told(await ask(none.dns, 'localhost', 'A')), 'A 192.0.2.1')
  t.equal(told(await ask(none.dns, 'localhost.default.svc.cluster.local', 'A')), 'NXDOMAIN')
})

t.test('a Service called localhost has its name with the search suffix; the bare name stays the machine’s', async t => {
  const service = {
    key: 'default/localhost',
    name: 'localhost',
    local: clusterService({ name: 'localhost', clusterIPs: ['10.96.0.77'] }),
  }
  const { dns } = await started(t, {}, service)
  t.equal(told(await ask(dns, 'localhost.default.svc.cluster.local', 'A')), 'A 10.96.0.77')
  t.equal(told(await ask(dns, 'localhost', 'A')), 'A 127.0.0.1')
  t.equal(told(await ask(dns, 'localhost.other.svc.cluster.local', 'A')), 'A 127.0.0.1')
})

t.test('autopath leads no special-use name out', async t => {
  const { dns, upstream } = await started(t, { autopath: true })
  t.equal(told(await ask(dns, 'x.onion.default.svc.cluster.local', 'A')), 'NXDOMAIN')
  t.equal(told(await ask(dns, 'foo.localhost.default.svc.cluster.local', 'A')), 'A 127.0.0.1')
  t.same(upstream.heard, [])
})

t.test('before the first sync, too', async t => {
  const { dns, directory } = await started(t)
  directory.synced = false
  t.equal(told(await ask(dns, 'localhost', 'A')), 'A 127.0.0.1')
  t.equal(told(await ask(dns, 'x.onion', 'A')), 'NXDOMAIN')
  t.equal((await ask(dns, 'localhost', 'A', { flags: dnsPacket.AUTHENTIC_DATA })).flag_ad, false)
})
