/** Explanations of answers, for `starlane dns`, and records in text form. */
import type dnsPacket from 'dns-packet'
import t from 'tap'
import { backend, clusterService, FakeDirectory, globalService } from '../../support/model.ts'
import { allVisible, laptop, responder } from './dns.ts'
import { a, fakeUpstream } from './upstream.ts'

const service = 'rebel-base.default.svc.cluster.local'
const web = globalService({
  name: 'web',
  local: clusterService({ name: 'web', headless: true }),
  frontends: [],
  backends: [backend({ address: '10.1.0.1' }), backend({ address: '10.1.0.2', state: 'terminating' })],
})

t.test('an explanation shows the answer and how it was made', async t => {
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
    way: ['zone cluster.local', /default\/rebel-base has a virtual address and 1 port; it is in /],
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

t.test('records are printed as dig prints them', async t => {
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
