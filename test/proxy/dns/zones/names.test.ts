/** The names of our own zones and what each answers; answers kept and dropped when the directory changes. */
import type dnsPacket from 'dns-packet'
import t from 'tap'
import { parseCidr } from '../../../../proxy/model/address.ts'
import type { Backend } from '../../../../proxy/model/backend.ts'
import type { GlobalService } from '../../../../proxy/model/service.ts'
import { backend, clusterService, endpoint, FakeDirectory, globalService } from '../../../support/model.ts'
import { allVisible, ask, laptop, responder, told } from '../dns.ts'

const http = { name: 'http', protocol: 'TCP', port: 80 } as const
const dnsPort = { name: 'dns', protocol: 'UDP', port: 53 } as const

/** Virtual IPs of both families, two named ports, one ready pod with a host name, one without, one not ready. */
const base = globalService({
  local: clusterService({
    clusterIPs: ['10.96.0.10', 'fd00:96::a'],
    ports: [http, dnsPort],
    endpoints: [
      endpoint({ address: '10.1.0.1', hostname: 'luke' }),
      endpoint({ address: '10.1.0.2' }),
      endpoint({ address: '10.1.0.3', hostname: 'vader', ready: false }),
    ],
  }),
})

function pods(...backends: Backend[]) {
  const local = clusterService({
    name: 'web',
    headless: true,
    ports: [http],
    endpoints: backends
      .filter(b => !b.remote)
      .map(b =>
        endpoint({ address: b.address, ready: b.state === 'active', ...(b.hostname && { hostname: b.hostname }) }),
      ),
  })
  const remote = clusterService({
    cluster: 'cluster-2',
    name: 'web',
    headless: true,
    endpoints: backends
      .filter(b => b.remote)
      .map(b => endpoint({ address: b.address, ...(b.hostname && { hostname: b.hostname }) })),
  })
  return globalService({ name: 'web', local, members: [local, remote], backends, frontends: [] })
}

const web = pods(
  backend({ address: '10.1.1.1', port: 8080, ports: ['http'], hostname: 'web-0' }),
  backend({ address: '10.1.1.1', port: 9090, ports: ['metrics'], hostname: 'web-0' }),
  backend({ address: '10.1.1.2', port: 8080, ports: ['http'], hostname: 'web-1', state: 'terminating' }),
  backend({ address: 'fd00:1::', port: 8080, ports: ['http'] }),
  backend({ address: '10.2.1.1', port: 8080, ports: ['http'], hostname: 'web-0', cluster: 'cluster-2' }),
)

function outside(name: string, externalName: string) {
  return globalService({
    name,
    local: clusterService({ name, type: 'ExternalName', externalName, ports: [] }),
    frontends: [],
  })
}

const portless = globalService({
  name: 'portless',
  local: clusterService({ name: 'portless', clusterIPs: ['10.96.0.20'], ports: [] }),
})
const unnamed = globalService({ name: 'plain', local: clusterService({ name: 'plain', clusterIPs: ['10.96.0.30'] }) })
const idle = pods(backend({ address: '10.1.9.1', state: 'terminating' }))
const empty = globalService({ ...idle, key: 'default/idle', name: 'idle' })
const remoteOnly = globalService({
  name: 'far',
  local: undefined,
  members: [clusterService({ cluster: 'cluster-2', name: 'far' })],
})

function galaxy(): FakeDirectory {
  const directory = new FakeDirectory(
    base,
    web,
    portless,
    unnamed,
    empty,
    remoteOnly,
    outside('alias', 'Rebel-Base.default.svc.cluster.local.'),
    outside('lost', 'nobody.default.svc.cluster.local'),
    outside('ping', 'pong.default.svc.cluster.local'),
    outside('pong', 'ping.default.svc.cluster.local'),
    outside('number', '10.0.0.1'),
  )
  directory.namespaces.add('quiet')
  return directory
}

const service = 'rebel-base.default.svc.cluster.local'
const both = 'A 10.96.0.10'

t.test('names of the cluster zone', async t => {
  const dns = responder(galaxy())
  const cases: [name: string, type: string, answer: string][] = [
    [service, 'A', both],
    [service, 'AAAA', 'AAAA fd00:96::a'],
    [service, 'SRV', `SRV 53 ${service}, SRV 80 ${service}`],
    [service, 'TXT', 'NODATA'],
    [service, 'CNAME', 'NODATA'],
    [service, 'MX', 'NODATA'],
    [service, 'NS', 'NODATA'],
    [service, 'SOA', 'NODATA'],
    [service, 'PTR', 'NODATA'],
    [service, 'UNKNOWN_65', 'NODATA'],
    [service, 'UNKNOWN_65280', 'NODATA'],
    [service, 'ANY', 'HINFO RFC8482'],
    ['REBEL-base.Default.SVC.Cluster.Local', 'A', both],
    [`_http._tcp.${service}`, 'SRV', `SRV 80 ${service}`],
    [`_dns._udp.${service}`, 'SRV', `SRV 53 ${service}`],
    [`_HTTP._TCP.${service}`, 'SRV', `SRV 80 ${service}`],
    [`_http._tcp.${service}`, 'A', 'NODATA'],
    [`_tcp.${service}`, 'SRV', 'NODATA'],
    [`_sctp.${service}`, 'SRV', 'NXDOMAIN'],
    [`_http._udp.${service}`, 'SRV', 'NXDOMAIN'],
    [`_nope._tcp.${service}`, 'SRV', 'NXDOMAIN'],
    [`http._tcp.${service}`, 'SRV', 'NXDOMAIN'],
    [`x._http._tcp.${service}`, 'SRV', 'NXDOMAIN'],
    [`luke.${service}`, 'A', 'A 10.1.0.1'],
    [`luke.${service}`, 'AAAA', 'NODATA'],
    [`luke.${service}`, 'SRV', `SRV 8080 luke.${service}`],
    [`10-1-0-2.${service}`, 'A', 'A 10.1.0.2'],
    [`10-1-0-1.${service}`, 'A', 'NXDOMAIN'],
    [`vader.${service}`, 'A', 'NXDOMAIN'],
    [`luke.leia.${service}`, 'A', 'NXDOMAIN'],
    ['portless.default.svc.cluster.local', 'A', 'A 10.96.0.20'],
    ['portless.default.svc.cluster.local', 'SRV', 'NODATA'],
    ['plain.default.svc.cluster.local', 'SRV', 'SRV 80 plain.default.svc.cluster.local'],
    ['_tcp.plain.default.svc.cluster.local', 'SRV', 'NXDOMAIN'],
    ['far.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['nobody.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['rebel-base.nowhere.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['*.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['any.any.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['google.com.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['www.google.com.default.svc.cluster.local', 'AAAA', 'NXDOMAIN'],
    ['google.com.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['google.com.cluster.local', 'A', 'NXDOMAIN'],
    ['default.svc.cluster.local', 'A', 'NODATA'],
    ['quiet.svc.cluster.local', 'A', 'NODATA'],
    ['nowhere.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['svc.cluster.local', 'A', 'NODATA'],
    ['cluster.local', 'A', 'NODATA'],
    ['cluster.local', 'SOA', 'SOA ns.dns.cluster.local'],
    ['cluster.local', 'NS', 'NS ns.dns.cluster.local'],
    ['dns.cluster.local', 'A', 'NODATA'],
    ['ns.dns.cluster.local', 'A', 'A 127.0.0.1'],
    ['ns.dns.cluster.local', 'AAAA', 'NODATA'],
    ['no.dns.cluster.local', 'A', 'NXDOMAIN'],
    ['dns-version.cluster.local', 'TXT', 'TXT 1.1.0'],
    ['dns-version.cluster.local', 'A', 'NODATA'],
    ['pod.cluster.local', 'A', 'NXDOMAIN'],
    ['10-1-0-1.default.pod.cluster.local', 'A', 'NXDOMAIN'],
  ]
  for (const [name, type, answer] of cases) t.equal(told(await ask(dns, name, type)), answer, `${name} ${type}`)
})

t.test('headless services', async t => {
  const dns = responder(galaxy())
  const name = 'web.default.svc.cluster.local'
  const cases: [name: string, type: string, answer: string][] = [
    [name, 'A', 'A 10.1.1.1, A 10.2.1.1'],
    [name, 'AAAA', 'AAAA fd00:1::'],
    [
      name,
      'SRV',
      `SRV 8080 10-2-1-1.${name}, SRV 8080 fd00-1--0.${name}, SRV 8080 web-0.${name}, SRV 9090 web-0.${name}`,
    ],
    [`_http._tcp.${name}`, 'SRV', `SRV 8080 10-2-1-1.${name}, SRV 8080 fd00-1--0.${name}, SRV 8080 web-0.${name}`],
    [`_metrics._tcp.${name}`, 'SRV', `SRV 9090 web-0.${name}`],
    [`_metrics._tcp.${name}`, 'AAAA', 'NODATA'],
    [`_tcp.${name}`, 'A', 'NODATA'],
    [`_udp.${name}`, 'A', 'NXDOMAIN'],
    [`web-0.${name}`, 'A', 'A 10.1.1.1'],
    [`10-2-1-1.${name}`, 'A', 'A 10.2.1.1'],
    [`web-0.${name}`, 'AAAA', 'NODATA'],
    [`web-0.${name}`, 'SRV', `SRV 8080 web-0.${name}, SRV 9090 web-0.${name}`],
    [`fd00-1--0.${name}`, 'AAAA', 'AAAA fd00:1::'],
    [`fd00-1--.${name}`, 'AAAA', 'NXDOMAIN'],
    [`web-1.${name}`, 'A', 'NXDOMAIN'],
    [`10-1-1-1.${name}`, 'A', 'NXDOMAIN'],
    [`web-0.cluster-2.${name}`, 'A', 'NXDOMAIN'],
    ['idle.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['idle.default.svc.cluster.local', 'SRV', 'NXDOMAIN'],
  ]
  for (const [asked, type, answer] of cases) t.equal(told(await ask(dns, asked, type)), answer, `${asked} ${type}`)

  const srv = await ask(dns, `_http._tcp.${name}`, 'SRV')
  t.same(
    (srv.additionals ?? []).map(a => `${a.name} ${(a as { data?: unknown }).data}`).sort(),
    [`10-2-1-1.${name} 10.2.1.1`, `fd00-1--0.${name} fd00:1::`, `web-0.${name} 10.1.1.1`],
    'each target comes with its addresses, once',
  )
  const weights = (srv.answers ?? []).map(a => (a as { data: { weight: number; priority: number } }).data)
  t.match(weights, Array(3).fill({ weight: 33, priority: 0 }))
})

t.test('thousands of endpoints: as many as fit in a message', async t => {
  const local = clusterService({ name: 'many', headless: true })
  const backends = Array.from({ length: 2000 }, (_, i) => backend({ address: `10.3.${i >> 8}.${i & 255}` }))
  const dns = responder(new FakeDirectory(globalService({ name: 'many', local, backends, frontends: [] })))
  const name = 'many.default.svc.cluster.local'
  const counts = async (type: string, asking: object) => {
    const { answers, additionals, flag_tc } = await ask(dns, name, type, asking)
    return [answers?.length, additionals?.filter(record => record.type !== 'OPT').length, flag_tc]
  }
  t.same(await counts('A', { transport: 'tcp' }), [2000, 0, false])
  t.same(await counts('A', { edns: 4096 }), [73, 0, true], '1232 bytes, whatever the client says')
  t.same(await counts('A', {}), [29, 0, true])
  t.same(await counts('SRV', { edns: 4096 }), [0, 0, true], 'a set is whole where TCP has all of it')
  const [records = 0, , cut] = (await counts('SRV', { transport: 'tcp' })) as [number, number, boolean]
  t.ok(cut)
  t.ok(records > 1000, `${records}: some of them, where there is no larger message`)
})

t.test('pods that share an address have a name each', async t => {
  const shared = (given: Partial<Backend>) => backend({ address: '10.1.7.1', port: 0, ports: [], ...given })
  const portless = pods(shared({ hostname: 'a', otherHostnames: ['b', ''] }))
  const far = pods(shared({ cluster: 'cluster-2', hostname: 'c', otherHostnames: ['d'] }))
  const directory = new FakeDirectory(
    { ...portless, key: 'default/near', name: 'near' },
    { ...far, key: 'default/far', name: 'far' },
    globalService({
      name: 'base',
      local: clusterService({
        name: 'base',
        clusterIPs: ['10.96.0.40'],
        endpoints: [
          endpoint({ address: '10.1.7.2', hostname: 'x' }),
          endpoint({ address: '10.1.7.2', hostname: 'y', ports: [{ name: '', protocol: 'TCP', port: 9090 }] }),
          endpoint({ address: '10.1.7.2', hostname: 'z', ready: false }),
        ],
      }),
    }),
  )
  const dns = responder(directory)
  const near = 'near.default.svc.cluster.local'
  const base = 'base.default.svc.cluster.local'
  const cases: [name: string, type: string, answer: string][] = [
    [near, 'A', 'A 10.1.7.1'],
    [`a.${near}`, 'A', 'A 10.1.7.1'],
    [`b.${near}`, 'A', 'A 10.1.7.1'],
    [`10-1-7-1.${near}`, 'A', 'A 10.1.7.1'],
    ['c.cluster-2.far.default.svc.clusterset.local', 'A', 'A 10.1.7.1'],
    ['d.cluster-2.far.default.svc.clusterset.local', 'A', 'A 10.1.7.1'],
    [`x.${base}`, 'SRV', `SRV 8080 x.${base}`],
    [`y.${base}`, 'SRV', `SRV 9090 y.${base}`],
    [`y.${base}`, 'A', 'A 10.1.7.2'],
    [`z.${base}`, 'A', 'NXDOMAIN'],
    ['2.7.1.10.in-addr.arpa', 'PTR', `PTR x.${base}, PTR y.${base}`],
  ]
  for (const [name, type, answer] of cases) t.equal(told(await ask(dns, name, type)), answer, `${name} ${type}`)
})

t.test('a headless service without ports has addresses and no SRV', async t => {
  const local = clusterService({ name: 'bare', headless: true, ports: [] })
  const bare = globalService({
    name: 'bare',
    local,
    backends: [backend({ address: '10.1.2.1', port: 0 })],
    frontends: [],
  })
  const dns = responder(new FakeDirectory(bare))
  t.equal(told(await ask(dns, 'bare.default.svc.cluster.local', 'A')), 'A 10.1.2.1')
  t.equal(told(await ask(dns, 'bare.default.svc.cluster.local', 'SRV')), 'NODATA')
})

t.test('an invalid host name, as manifests may have, does no harm', async t => {
  const local = clusterService({ name: 'odd', headless: true })
  const backends = ['x'.repeat(64), 'two.labels', 'spa ce', '-dash'].map((hostname, i) =>
    backend({ address: `10.1.4.${i}`, hostname }),
  )
  const dns = responder(new FakeDirectory(globalService({ name: 'odd', local, backends, frontends: [] })))
  const name = 'odd.default.svc.cluster.local'
  t.equal(told(await ask(dns, name, 'SRV')), [0, 1, 2, 3].map(i => `SRV 8080 10-1-4-${i}.${name}`).join(', '))
})

t.test('ExternalName', async t => {
  const dns = responder(galaxy())
  const cases: [name: string, type: string, answer: string][] = [
    ['alias', 'A', `CNAME ${service}, ${both}`],
    ['alias', 'CNAME', `CNAME ${service}`],
    ['alias', 'TXT', `CNAME ${service}, NODATA`],
    ['lost', 'A', 'CNAME nobody.default.svc.cluster.local, NXDOMAIN'],
    ['ping', 'CNAME', 'CNAME pong.default.svc.cluster.local'],
    ['ping', 'A', 'SERVFAIL'],
    ['number', 'A', 'NXDOMAIN'],
    ['below.alias', 'A', 'NXDOMAIN'],
  ]
  for (const [name, type, answer] of cases) {
    t.equal(told(await ask(dns, `${name}.default.svc.cluster.local`, type)), answer, `${name} ${type}`)
  }
})

t.test('reverse names', async t => {
  const networks = ['10.96.0.0/12', '10.1.0.0/16', 'fd00:96::/64'].flatMap(text => parseCidr(text) ?? [])
  const dns = responder(galaxy(), { networks })
  const reversed = (v6: string) => [...v6].reverse().join('.')
  const cases: [name: string, type: string, answer: string][] = [
    ['10.0.96.10.in-addr.arpa', 'PTR', `PTR ${service}`],
    ['10.0.96.10.in-addr.arpa', 'A', 'NODATA'],
    ['1.0.1.10.in-addr.arpa', 'PTR', `PTR luke.${service}`],
    ['2.0.1.10.in-addr.arpa', 'PTR', `PTR 10-1-0-2.${service}`],
    ['3.0.1.10.in-addr.arpa', 'PTR', 'NXDOMAIN'],
    ['1.1.1.10.in-addr.arpa', 'PTR', 'PTR web-0.web.default.svc.cluster.local'],
    ['1.1.2.10.in-addr.arpa', 'PTR', 'PTR web-0.cluster-2.web.default.svc.clusterset.local'],
    ['99.0.96.10.in-addr.arpa', 'PTR', 'NXDOMAIN'],
    ['0.96.10.in-addr.arpa', 'PTR', 'NODATA'],
    ['1.0.0.192.in-addr.arpa', 'PTR', 'REFUSED'],
    ['010.0.96.10.in-addr.arpa', 'PTR', 'REFUSED'],
    [`${reversed(`fd000096${'0'.repeat(23)}a`)}.ip6.arpa`, 'PTR', `PTR ${service}`],
    [`${reversed(`fd000096${'0'.repeat(23)}b`)}.ip6.arpa`, 'PTR', 'NXDOMAIN'],
  ]
  for (const [name, type, answer] of cases) t.equal(told(await ask(dns, name, type)), answer, `${name} ${type}`)
})

t.test('an address that several services select has all their names', async t => {
  const make = (name: string) =>
    globalService({
      name,
      local: clusterService({ name, clusterIPs: [], endpoints: [endpoint({ address: '10.1.0.1', hostname: 'han' })] }),
    })
  const directory = new FakeDirectory(make('falcon'), make('cantina'))
  const dns = responder(directory)
  const name = '1.0.1.10.in-addr.arpa'
  const falcon = 'PTR han.falcon.default.svc.cluster.local'
  t.equal(told(await ask(dns, name, 'PTR')), `PTR han.cantina.default.svc.cluster.local, ${falcon}`)
  directory.remove('default/cantina')
  t.equal(told(await ask(dns, name, 'PTR')), falcon)
})

t.test('denials carry the SOA, so that resolvers can cache them', async t => {
  const directory = galaxy()
  directory.changedAt = 1_800_000_000_000
  const dns = responder(directory, { ttlMs: 7000 })
  for (const name of ['nobody.default.svc.cluster.local', 'default.svc.cluster.local']) {
    const packet = await ask(dns, name, 'A')
    t.match(packet.authorities, [
      {
        type: 'SOA',
        name: 'cluster.local',
        ttl: 7,
        data: { mname: 'ns.dns.cluster.local', rname: 'hostmaster.cluster.local', serial: 1_800_000_000, minimum: 7 },
      },
    ])
    t.ok(packet.flag_aa)
  }
})

t.test('the flags of the header', async t => {
  const dns = responder(galaxy())
  const packet = await ask(dns, service, 'A')
  t.match(packet, { id: 4711, flag_qr: true, flag_aa: true, flag_ra: true, flag_rd: true, flag_tc: false })
  t.equal(packet.answers?.[0] && 'ttl' in packet.answers[0] && packet.answers[0].ttl, 5)
  t.notOk((await ask(dns, service, 'A', { flags: 0 })).flag_rd)
})

t.test('question and owner have the case of the query', async t => {
  const dns = responder(galaxy())
  for (const name of ['Rebel-BASE.default.SVC.cluster.local', 'rebel-base.DEFAULT.svc.cluster.LOCAL']) {
    const packet = await ask(dns, name, 'A')
    t.equal(packet.questions?.[0]?.name, name)
    t.equal(packet.answers?.[0]?.name, name)
  }
})

t.test('the order of addresses rotates', async t => {
  const ips = ['10.1.3.1', '10.1.3.2', '10.1.3.3']
  const local = clusterService({ name: 'many', headless: true })
  const many = globalService({ name: 'many', local, frontends: [], backends: ips.map(address => backend({ address })) })
  const dns = responder(new FakeDirectory(many))
  const firsts = new Set<string>()
  for (let i = 0; i < 3; i++) {
    const packet = await ask(dns, 'many.default.svc.cluster.local', 'A')
    const seen = (packet.answers ?? []).map(answer => String((answer as { data: unknown }).data))
    firsts.add(seen[0] ?? '')
    t.same([...seen].sort(), ips)
  }
  t.same([...firsts].sort(), ips)
})

t.test('pod records', async t => {
  const directory = galaxy()
  const insecure = responder(directory, { pods: 'insecure' })
  const verified = responder(directory, { pods: 'verified' })
  const cases: [name: string, type: string, insecure: string, verified: string][] = [
    ['10-1-0-1.default', 'A', 'A 10.1.0.1', 'A 10.1.0.1'],
    ['10-1-0-1.default', 'AAAA', 'NODATA', 'NODATA'],
    ['10-9-9-9.default', 'A', 'A 10.9.9.9', 'NXDOMAIN'],
    ['fd00-1--.default', 'AAAA', 'AAAA fd00:1::', 'AAAA fd00:1::'],
    ['10-1-0-1.quiet', 'A', 'A 10.1.0.1', 'NXDOMAIN'],
    ['10-1-0-1.nowhere', 'A', 'NXDOMAIN', 'NXDOMAIN'],
    ['luke.default', 'A', 'NXDOMAIN', 'NXDOMAIN'],
    ['default', 'A', 'NODATA', 'NODATA'],
  ]
  for (const [name, type, loose, strict] of cases) {
    t.equal(told(await ask(insecure, `${name}.pod.cluster.local`, type)), loose, `insecure ${name} ${type}`)
    t.equal(told(await ask(verified, `${name}.pod.cluster.local`, type)), strict, `verified ${name} ${type}`)
  }
})

t.test('verified: a Pod without a Service has a name while it exists', async t => {
  const directory = galaxy()
  const dns = responder(directory, { pods: 'verified' })
  const answer = async (name: string, type = 'A') => told(await ask(dns, `${name}.pod.cluster.local`, type))
  t.equal(await answer('10-9-0-1.quiet'), 'NXDOMAIN')
  t.equal(await answer('10-9-0-1.quiet'), 'NXDOMAIN', 'from the cache')
  directory.pods.add('quiet/10.9.0.1').add('quiet/fd00:9::1')
  t.equal(await answer('10-9-0-1.quiet'), 'A 10.9.0.1', 'a cached denial ends when it is created')
  t.equal(await answer('10-9-0-1.quiet'), 'A 10.9.0.1')
  t.equal(await answer('10-9-0-1.quiet', 'AAAA'), 'NODATA')
  t.equal(await answer('fd00-9--1.quiet', 'AAAA'), 'AAAA fd00:9::1')
  t.equal(await answer('10-9-0-1.default'), 'NXDOMAIN', 'it is a Pod of another namespace')
  directory.pods.clear()
  t.equal(await answer('10-9-0-1.quiet'), 'NXDOMAIN', 'and a cached answer when it is deleted')
  t.equal(await answer('10-1-0-1.default'), 'A 10.1.0.1', 'endpoints count too')
})

t.test('a Pod that is only in a hidden service is hidden with it', async t => {
  const directory = galaxy()
  directory.pods.add('default/10.1.0.1').add('default/10.9.0.1')
  const admit = () => ({ code: 'tenancy', why: 'not yours' })
  const dns = responder(directory, { pods: 'verified' }, { visibility: { ...allVisible, admit } })
  t.equal(told(await ask(dns, '10-1-0-1.default.pod.cluster.local', 'A')), 'NXDOMAIN')
  t.equal(told(await ask(dns, '10-9-0-1.default.pod.cluster.local', 'A')), 'A 10.9.0.1')
})

t.test('names of the clusterset zone', async t => {
  const dns = responder(galaxy())
  const Z = 'clusterset.local'
  const name = `web.default.svc.${Z}`
  const virtual = `rebel-base.default.svc.${Z}`
  const cases: [name: string, type: string, answer: string][] = [
    [virtual, 'A', both],
    [virtual, 'AAAA', 'AAAA fd00:96::a'],
    [virtual, 'SRV', `SRV 53 ${virtual}, SRV 80 ${virtual}`],
    [`_http._tcp.${virtual}`, 'SRV', `SRV 80 ${virtual}`],
    [`cluster-1.${virtual}`, 'A', 'NXDOMAIN'],
    [`luke.cluster-1.${virtual}`, 'A', 'NXDOMAIN'],
    [name, 'A', 'A 10.1.1.1, A 10.2.1.1'],
    [`web-0.cluster-1.${name}`, 'A', 'A 10.1.1.1'],
    [`web-0.cluster-2.${name}`, 'A', 'A 10.2.1.1'],
    [`web-0.cluster-2.${name}`, 'SRV', `SRV 8080 web-0.cluster-2.${name}`],
    [`web-0.${name}`, 'A', 'NXDOMAIN'],
    [`web-0.cluster-3.${name}`, 'A', 'NXDOMAIN'],
    [`cluster-2.${name}`, 'A', 'NODATA'],
    [`cluster-3.${name}`, 'A', 'NXDOMAIN'],
    [
      `_http._tcp.${name}`,
      'SRV',
      `SRV 8080 fd00-1--0.cluster-1.${name}, SRV 8080 web-0.cluster-1.${name}, SRV 8080 web-0.cluster-2.${name}`,
    ],
    [`far.default.svc.${Z}`, 'A', 'NXDOMAIN'],
    [`alias.default.svc.${Z}`, 'A', 'NXDOMAIN'],
    [`10-1-0-1.default.pod.${Z}`, 'A', 'NXDOMAIN'],
    [`dns-version.${Z}`, 'TXT', 'TXT 1.0.0'],
    [Z, 'SOA', `SOA ns.dns.${Z}`],
    [`default.svc.${Z}`, 'A', 'NODATA'],
  ]
  for (const [asked, type, answer] of cases) t.equal(told(await ask(dns, asked, type)), answer, `${asked} ${type}`)
})

t.test('a service that no cluster shares is not in the clusterset', async t => {
  const local = clusterService()
  const own = globalService({ local, members: [local], settings: { shared: false } })
  const dns = responder(new FakeDirectory(own))
  t.equal(told(await ask(dns, 'rebel-base.default.svc.clusterset.local', 'A')), 'NXDOMAIN')
  t.equal(told(await ask(dns, 'rebel-base.default.svc.cluster.local', 'A')), 'A 127.96.0.10')
})

t.test('an import has a name in the clusterset, and none in the cluster', async t => {
  const imported = (name: string, given: object = {}) =>
    clusterService({ name, imported: true, clusterIPs: ['10.96.0.99'], ports: [http], ...given })
  const settings = { shared: false }
  const far = clusterService({ cluster: 'cluster-2', name: 'far' })
  const tail = clusterService({ cluster: 'cluster-2', name: 'tail', headless: true })
  const own = { far: imported('far'), lone: imported('lone', { clusterIPs: ['10.96.0.98'] }) }
  const headless = imported('tail', { headless: true, clusterIPs: [] })
  const ready = backend({ address: '10.2.1.1', hostname: 'tail-0', cluster: 'cluster-2' })
  const dns = responder(
    new FakeDirectory(
      globalService({ name: 'far', local: own.far, members: [own.far, far], settings }),
      globalService({ name: 'lone', local: own.lone, members: [own.lone], settings }),
      globalService({ name: 'tail', local: headless, members: [headless, tail], backends: [ready], settings }),
    ),
  )
  for (const [asked, type, answer] of [
    ['far.default.svc.clusterset.local', 'A', 'A 10.96.0.99'],
    ['far.default.svc.clusterset.local', 'AAAA', 'NODATA'],
    ['_http._tcp.far.default.svc.clusterset.local', 'SRV', 'SRV 80 far.default.svc.clusterset.local'],
    ['lone.default.svc.clusterset.local', 'A', 'A 10.96.0.98'],
    ['tail.default.svc.clusterset.local', 'A', 'A 10.2.1.1'],
    ['tail-0.cluster-2.tail.default.svc.clusterset.local', 'A', 'A 10.2.1.1'],
    ['far.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['tail.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['far.default', 'A', 'REFUSED'],
    ['99.0.96.10.in-addr.arpa', 'PTR', 'PTR far.default.svc.clusterset.local'],
  ] as const) {
    t.equal(told(await ask(dns, asked, type)), answer, `${asked} ${type}`)
  }
  const { way } = await dns.explain('far.default.svc.cluster.local', 'A', laptop)
  t.match(way, [/./, /^default\/far is imported, from cluster-1, cluster-2: it has a name in the clusterset/, /./])
})

t.test('a service that a plugin refuses to the client does not exist for it', async t => {
  const visibility = {
    ...allVisible,
    admit: (client: { address: string }) =>
      client.address === '10.9.9.9' ? { code: 'tenancy', why: 'not yours' } : undefined,
  }
  const dns = responder(galaxy(), {}, { visibility: visibility })
  const stranger = { address: '10.9.9.9', port: 1 }
  for (const name of [service, `luke.${service}`, 'alias.default.svc.cluster.local']) {
    for (let again = 0; again < 2; again++) {
      t.notMatch(told(await ask(dns, name, 'A')), 'NXDOMAIN', `${name} for a friend`)
      t.match(told(await ask(dns, name, 'A', { client: stranger })), 'NXDOMAIN', `${name} for a stranger`)
    }
  }
  t.equal(told(await ask(dns, '10.0.96.10.in-addr.arpa', 'PTR', { client: stranger })), 'REFUSED')
  t.equal(told(await ask(dns, '10.0.96.10.in-addr.arpa', 'PTR')), `PTR ${service}`)
})

t.test('a headless service shows each client the backends it may see', async t => {
  const visibility = {
    ...allVisible,
    visible: (client: { address: string }, { backends }: typeof web) =>
      client.address === '10.9.9.9' ? backends.filter(b => !b.remote) : backends,
  }
  const dns = responder(galaxy(), {}, { visibility: visibility })
  const name = 'web.default.svc.cluster.local'
  for (let again = 0; again < 2; again++) {
    t.equal(told(await ask(dns, name, 'A')), 'A 10.1.1.1, A 10.2.1.1')
    t.equal(told(await ask(dns, name, 'A', { client: { address: '10.9.9.9', port: 1 } })), 'A 10.1.1.1')
  }
})

t.test('affinity applies to the name of a headless service, not to those of its endpoints', async t => {
  let side = (backend: Backend) => !backend.remote
  const visibility = {
    ...allVisible,
    visible: (_client: unknown, { backends }: typeof web, preferred = false) =>
      preferred ? backends.filter(side) : backends,
  }
  const dns = responder(galaxy(), {}, { visibility: visibility })
  const name = 'web.default.svc.cluster.local'
  const far = 'web.default.svc.clusterset.local'
  const told4 = async (asked: string) => told(await ask(dns, asked, 'A'))
  t.equal(await told4(name), 'A 10.1.1.1')
  t.equal(await told4(`10-2-1-1.${name}`), 'A 10.2.1.1')
  t.equal(await told4(far), 'A 10.1.1.1, A 10.2.1.1')
  side = ({ remote }) => remote
  t.equal(await told4(name), 'A 10.2.1.1', 'and the other one as soon as that changes')
  side = ({ state }) => state === 'terminating'
  t.equal(await told4(name), 'A 10.1.1.1, A 10.2.1.1', 'all when no preferred one is ready')
})

t.test('answers follow the directory at once', async t => {
  const directory = new FakeDirectory()
  const dns = responder(directory)
  const asked = () => ask(dns, service, 'A').then(told)
  t.equal(await asked(), 'NXDOMAIN')
  directory.set(base)
  t.equal(await asked(), both)
  directory.set(globalService({ local: clusterService({ clusterIPs: ['10.96.0.99'] }) }))
  t.equal(await asked(), 'A 10.96.0.99')
  t.equal(told(await ask(dns, '99.0.96.10.in-addr.arpa', 'PTR')), `PTR ${service}`)
  directory.remove('default/rebel-base')
  t.equal(await asked(), 'NXDOMAIN')
  t.equal(told(await ask(dns, '99.0.96.10.in-addr.arpa', 'PTR')), 'REFUSED')
  t.equal(told(await ask(dns, 'new.svc.cluster.local', 'A')), 'NXDOMAIN')
  directory.namespaces.add('new')
  t.equal(told(await ask(dns, 'new.svc.cluster.local', 'A')), 'NODATA')
})

t.test('a change that affects no record drops no answer', async t => {
  const local = (given: object = {}) =>
    clusterService({ name: 'base', clusterIPs: ['10.96.0.40'], ports: [http], ...given })
  const make = (given: object = {}, backends: Backend[] = []) =>
    globalService({ name: 'base', local: local(given), members: [local(given)], backends })
  const ready = backend({ address: '10.1.0.1' })
  const other = backend({ address: '10.2.0.1', cluster: 'cluster-2' })
  const directory = new FakeDirectory(make({}, [ready]))
  const admitted = new Set<unknown>()
  const admit = (_client: unknown, service: unknown) => void admitted.add(service)
  const dns = responder(directory, {}, { visibility: { ...allVisible, admit } })
  const name = 'base.default.svc.cluster.local'
  const names = [name, `_http._tcp.${name}`, `nobody.${name}`, 'base', 'base.default.svc.clusterset.local']
  const askAll = async () => {
    for (const asked of names) await ask(dns, asked, 'SRV')
    await ask(dns, '40.0.96.10.in-addr.arpa', 'PTR')
    return dns.stats().answerCache.misses
  }
  const misses = await askAll()
  const pod = endpoint({ address: '10.1.0.1' })
  const silent: [what: string, GlobalService][] = [
    ['labels', make({ labels: { revision: '2' } }, [ready])],
    ['an endpoint comes', make({}, [ready, other])],
    ['one is found down', make({}, [{ ...ready, health: 'down' }, other])],
  ]
  for (const [what, service] of silent) {
    directory.set(service)
    admitted.clear()
    t.equal(await askAll(), misses, what)
    t.ok(admitted.has(service), 'plugins are asked about the service as it is')
  }
  const spare = { ...make(), exports: ['cluster-1'] } as GlobalService
  const telling: [what: string, GlobalService, answers: number][] = [
    ['an endpoint of its own, which has a name', make({ endpoints: [pod] }, [ready]), 1],
    ['and is not ready any more', make({ endpoints: [{ ...pod, ready: false }] }, [ready]), 1],
    ['another port', make({ ports: [{ ...http, port: 81 }] }), 6],
    ['not shared any more', { ...make(), settings: { ...make().settings, shared: false } }, 6],
    ['a property that nobody knows yet', spare, 6],
    ['and another value of it', { ...spare, exports: ['cluster-2'] } as GlobalService, 6],
    ['a value with insides', { ...spare, exports: new Map([[1, 2]]) } as unknown as GlobalService, 6],
    ['other insides', { ...spare, exports: new Map([[1, 3]]) } as unknown as GlobalService, 6],
  ]
  for (const [what, service, answers] of telling) {
    const before = await askAll()
    directory.set(service)
    t.equal((await askAll()) - before, answers, what)
  }
})

t.test('the serial of a zone is that of the newest change', async t => {
  const directory = galaxy()
  const dns = responder(directory)
  const serials = async () => {
    const zones = ['cluster.local', 'clusterset.local']
    const packets = await Promise.all(zones.map(zone => ask(dns, zone, 'SOA')))
    return packets.flatMap(({ answers }) => (answers as dnsPacket.SoaAnswer[]).map(({ data }) => data.serial))
  }
  directory.changedAt = 5_000_000
  t.same(await serials(), [5000, 5000])
  directory.changedAt = 6_000_000
  directory.remove('default/web')
  t.same(await serials(), [6000, 6000])
})

t.test('no name is denied before the first sync', async t => {
  const directory = new FakeDirectory()
  directory.synced = false
  const dns = responder(directory)
  for (const name of [service, 'rebel-base', 'svc.cluster.local', 'rebel-base.default.svc.clusterset.local']) {
    t.equal(told(await ask(dns, name, 'A')), 'SERVFAIL', name)
  }
  directory.set(base)
  directory.synced = true
  t.equal(told(await ask(dns, service, 'A')), both)
})

t.test('short names, for clients without a search path', async t => {
  const directory = galaxy()
  const dns = responder(directory)
  const cases: [name: string, answer: string][] = [
    ['rebel-base', `CNAME ${service}, ${both}`],
    ['rebel-base.default', `CNAME ${service}, ${both}`],
    ['rebel-base.default.svc', `CNAME ${service}, ${both}`],
    ['luke.rebel-base', `CNAME luke.${service}, A 10.1.0.1`],
    ['alias', `CNAME alias.default.svc.cluster.local, CNAME ${service}, ${both}`],
    ['nobody', 'REFUSED'],
    ['default', 'REFUSED'],
    ['rebel-base.nowhere', 'REFUSED'],
  ]
  for (const [name, answer] of cases) t.equal(told(await ask(dns, name, 'A')), answer, name)
  directory.remove('default/rebel-base')
  t.equal(told(await ask(dns, 'rebel-base', 'A')), 'REFUSED', 'and no longer when the service is gone')

  const plain = responder(galaxy(), { search: false })
  t.equal(told(await ask(plain, 'rebel-base', 'A')), 'REFUSED', 'nor at all when switched off')
})

t.test('the options name the zones', async t => {
  const dns = responder(galaxy(), { domain: 'Galaxy.Far.', clusterset: null })
  t.equal(told(await ask(dns, 'rebel-base.default.svc.galaxy.far', 'A')), both)
  t.equal(told(await ask(dns, service, 'A')), 'NXDOMAIN', 'a name of multicast DNS like any other')
  t.equal(told(await ask(dns, 'rebel-base.default.svc.clusterset.local', 'A')), 'NXDOMAIN')
})

t.test('a service without a ready backend anywhere can be hidden', async t => {
  const bare = globalService()
  const served = globalService({ backends: [backend({ address: '10.2.0.1', cluster: 'cluster-2' })] })
  const directory = new FakeDirectory(bare)
  const dns = responder(directory, { hideEmpty: true })
  t.equal(told(await ask(dns, service, 'A')), 'NXDOMAIN')
  directory.set(served)
  t.equal(told(await ask(dns, service, 'A')), 'A 127.96.0.10')
})

t.test('what a remote cluster claims: no name of a local pod, and no reverse name of the internet', async t => {
  const claims = pods(
    backend({ address: '10.1.1.1', hostname: 'db-0', state: 'terminating' }),
    backend({ address: '10.1.1.2' }),
    backend({ address: '10.2.1.1', hostname: 'DB-0', cluster: 'cluster-2' }),
    backend({ address: '10.2.1.2', hostname: '10-1-1-2', cluster: 'cluster-2' }),
    backend({ address: '10.2.1.3', hostname: 'db-7', cluster: 'cluster-2' }),
    backend({ address: '8.8.8.8', hostname: 'dns', cluster: 'cluster-2' }),
    backend({ address: '2001:4860:4860::8888', hostname: 'dns6', cluster: 'cluster-2' }),
    backend({ address: '1.1.1.1', hostname: 'mine' }),
    backend({ address: '203.0.113.7', hostname: 'edge', cluster: 'cluster-2' }),
  )
  const networks = ['203.0.113.0/24'].flatMap(text => parseCidr(text) ?? [])
  const dns = responder(new FakeDirectory(claims), { networks })
  const name = 'web.default.svc.cluster.local'
  const told4 = async (asked: string, type = 'A') => told(await ask(dns, asked, type))
  t.equal(await told4(`db-0.${name}`), 'NXDOMAIN', 'the local one is not ready; the remote one does not take its place')
  t.equal(await told4(`10-2-1-1.${name}`), 'A 10.2.1.1')
  t.equal(await told4(`10-1-1-2.${name}`), 'A 10.1.1.2')
  t.equal(await told4(`db-7.${name}`), 'A 10.2.1.3', 'a name that no local pod has')
  for (const reverse of ['8.8.8.8', '1.1.1.1'])
    t.equal(await told4(`${reverse}.in-addr.arpa`, 'PTR'), 'REFUSED', `${reverse} is forwarded`)
  t.equal(await told4('8.8.8.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.8.4.0.6.8.4.1.0.0.2.ip6.arpa', 'PTR'), 'REFUSED')
  t.equal(await told4('3.1.2.10.in-addr.arpa', 'PTR'), 'PTR db-7.cluster-2.web.default.svc.clusterset.local')
  t.equal(await told4('7.113.0.203.in-addr.arpa', 'PTR'), 'PTR edge.cluster-2.web.default.svc.clusterset.local')
})

t.test(
  'a service whose ports another service has, or for which no virtual address is left, has no address',
  async t => {
    const local = clusterService({ name: 'late', clusterIPs: ['10.96.0.10'] })
    const dns = responder(new FakeDirectory(globalService({ name: 'late', local, frontends: [] })))
    for (const type of ['A', 'AAAA']) t.equal(told(await ask(dns, 'late.default.svc.cluster.local', type)), 'NODATA')
    t.equal(told(await ask(dns, '10.0.96.10.in-addr.arpa', 'PTR')), 'REFUSED')
  },
)
