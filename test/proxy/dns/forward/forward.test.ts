/** Forwarding: choice of upstreams, cache, failures, stale answers, routes, `resolv.conf`, loops, autopath. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import dnsPacket from 'dns-packet'
import t, { type Test } from 'tap'
import { parseResolvConf } from '../../../../proxy/dns/forward/resolv-conf.ts'
import type { DnsOptions } from '../../../../proxy/dns/options.ts'
import type { DnsResponder } from '../../../../proxy/dns/responder.ts'
import { FakeClock } from '../../../support/clock.ts'
import { eventually } from '../../../support/eventually.ts'
import { clusterService, FakeDirectory, globalService } from '../../../support/model.ts'
import { ask, type Decoded, queryBytes, responder, told } from '../dns.ts'
import { a, fakeUpstream, type Script, soa } from '../upstream.ts'

const outside = globalService({
  name: 'outside',
  local: clusterService({ name: 'outside', type: 'ExternalName', externalName: 'www.example.org', ports: [] }),
  frontends: [],
})

async function started(t: Test, upstream: string[], options: Partial<DnsOptions> = {}) {
  const clock = new FakeClock()
  const dns = responder(new FakeDirectory(globalService(), outside), { upstream, ...options }, { clock })
  await dns.start()
  t.teardown(() => dns.close())
  return { dns, clock }
}

const always =
  (address: string, ttl = 60): Script =>
  ({ name, type }) =>
    type === 'A' ? { answers: [a(name, address, ttl)] } : { authorities: [soa('org', 60, 60)] }

function ttlOf(packet: Decoded): number | undefined {
  const [answer] = packet.answers ?? []
  return answer && 'ttl' in answer ? answer.ttl : undefined
}

t.test('a name outside our zones is forwarded, each question with its own id and port', async t => {
  const upstream = await fakeUpstream(t, always('192.0.2.1'))
  const { dns } = await started(t, [upstream.text])
  const packet = await ask(dns, 'WWW.example.org', 'A', { edns: 4096 })
  t.equal(told(packet), 'A 192.0.2.1')
  t.match(packet, { flag_aa: false, flag_ra: true, flag_rd: true, id: 4711 })
  t.equal(packet.questions?.[0]?.name, 'WWW.example.org', 'in the case it was asked in')
  t.match(packet.additionals, [{ type: 'OPT', udpPayloadSize: 1232 }], 'OPT is ours, not the upstream’s')
  t.match(upstream.heard, [{ name: 'www.example.org', type: 'A', transport: 'udp', edns: true }])
  for (let i = 0; i < 8; i++) await ask(dns, `n${i}.example.org`, 'A')
  const ports = new Set(upstream.heard.map(heard => heard.port))
  const ids = new Set(upstream.heard.map(heard => heard.id))
  t.ok(ports.size > 6, `${ports.size} ports for 9 questions`)
  t.ok(ids.size > 6, `${ids.size} ids for 9 questions`)
})

t.test('TTLs from the cache count down, and entries expire', async t => {
  const upstream = await fakeUpstream(t, always('192.0.2.1', 60))
  const { dns, clock } = await started(t, [upstream.text], { cache: { prefetch: false } })
  t.equal(ttlOf(await ask(dns, 'example.org', 'A')), 60)
  await clock.advance(25_000)
  t.equal(ttlOf(await ask(dns, 'EXAMPLE.org', 'A')), 35)
  t.equal(upstream.heard.length, 1)
  await clock.advance(36_000)
  t.equal(ttlOf(await ask(dns, 'example.org', 'A')), 60)
  t.equal(upstream.heard.length, 2)
})

t.test('denials are cached as their SOA allows, NXDOMAIN for every type, and not without a SOA', async t => {
  const upstream = await fakeUpstream(t, ({ name }) =>
    name.startsWith('no-soa')
      ? { rcode: 3 }
      : name.startsWith('nx')
        ? { rcode: 3, authorities: [soa('org', 600, 30)] }
        : { authorities: [soa('org', 20, 600)] },
  )
  const { dns, clock } = await started(t, [upstream.text], { cache: { staleMs: 0 } })
  t.equal(told(await ask(dns, 'nx.example.org', 'A')), 'NXDOMAIN')
  const other = await ask(dns, 'nx.example.org', 'AAAA')
  t.equal(told(other), 'NXDOMAIN')
  t.equal(other.questions?.[0]?.type, 'AAAA')
  t.equal(upstream.heard.length, 1)
  await clock.advance(31_000)
  await ask(dns, 'nx.example.org', 'MX')
  t.equal(upstream.heard.length, 2, 'the smaller of TTL and minimum')

  t.equal(told(await ask(dns, 'empty.example.org', 'A')), 'NODATA')
  t.equal(told(await ask(dns, 'empty.example.org', 'A')), 'NODATA')
  t.equal(upstream.heard.length, 3)
  await ask(dns, 'empty.example.org', 'TXT')
  t.equal(upstream.heard.length, 4, 'NODATA is of one type')

  await ask(dns, 'no-soa.example.org', 'A')
  await ask(dns, 'no-soa.example.org', 'A')
  t.equal(upstream.heard.length, 6)
})

t.test('equal questions in flight are one question to the upstream', async t => {
  let answerNow = () => {}
  const gate = new Promise<void>(resolve => (answerNow = resolve))
  const upstream = await fakeUpstream(t, async heard => {
    await gate
    return always('192.0.2.1')(heard)
  })
  const { dns } = await started(t, [upstream.text])
  const asked = Array.from({ length: 20 }, () => ask(dns, 'example.org', 'A'))
  await eventually(() => upstream.heard.length > 0 || Promise.reject(new Error('wait')))
  answerNow()
  t.same(new Set((await Promise.all(asked)).map(told)), new Set(['A 192.0.2.1']))
  t.equal(upstream.heard.length, 1)
})

t.test('a truncated reply is asked again over TCP, and truncated for clients that need it', async t => {
  const answers = (name: string) => Array.from({ length: 100 }, (_, i) => a(name, `192.0.2.${i}`))
  const upstream = await fakeUpstream(t, ({ name, transport }) =>
    transport === 'udp' ? { flags: dnsPacket.TRUNCATED_RESPONSE } : { answers: answers(name) },
  )
  const { dns } = await started(t, [upstream.text])
  const small = await ask(dns, 'big.example.org', 'A')
  t.ok(small.flag_tc)
  t.ok((small.answers?.length ?? 0) < 30)
  const large = await ask(dns, 'big.example.org', 'A', { edns: 4096 })
  t.ok(large.flag_tc)
  t.match(large.additionals, [{ type: 'OPT' }])
  t.equal((await ask(dns, 'big.example.org', 'A', { transport: 'tcp' })).answers?.length, 100)
  t.same(
    upstream.heard.map(heard => heard.transport),
    ['udp', 'tcp'],
  )
})

t.test('messages that are not a reply to our question are ignored', async t => {
  const forged =
    (change: (packet: dnsPacket.Packet) => void): Script =>
    ({ name, type, id }) => {
      const packet: dnsPacket.Packet = {
        type: 'response',
        id,
        questions: [{ name, type: type as 'A' }],
        answers: [a(name, '6.6.6.6')],
      }
      change(packet)
      return [{ raw: dnsPacket.encode(packet) }, { answers: [a(name, '192.0.2.1')] }]
    }
  const cases: [string, Script][] = [
    ['another id', forged(packet => (packet.id = ((packet.id ?? 0) + 1) & 0xffff))],
    ['another name', forged(packet => (packet.questions = [{ name: 'evil.example', type: 'A' }]))],
    ['another type', forged(packet => (packet.questions = [{ name: packet.questions?.[0]?.name ?? '', type: 'TXT' }]))],
    ['a query', forged(packet => (packet.type = 'query'))],
    ['no question', forged(packet => (packet.questions = []))],
  ]
  const upstream = await fakeUpstream(t, () => undefined)
  const { dns } = await started(t, [upstream.text])
  for (const [i, [what, script]] of cases.entries()) {
    upstream.script = script
    t.equal(told(await ask(dns, `f${i}.example.org`, 'A')), 'A 192.0.2.1', what)
  }
})

t.test('after SERVFAIL and REFUSED the next upstream is asked', async t => {
  const broken = await fakeUpstream(t, ({ name }) => ({ rcode: name.startsWith('s') ? 2 : 5 }))
  const good = await fakeUpstream(t, always('192.0.2.1'))
  const { dns } = await started(t, [broken.text, good.text])
  t.equal(told(await ask(dns, 's.example.org', 'A')), 'A 192.0.2.1')
  t.equal(told(await ask(dns, 'r.example.org', 'A')), 'A 192.0.2.1')
  t.equal(broken.heard.length, 2, 'it is alive, and asked each time')
  t.same(dns.problems(), [])
})

t.test('when all fail: SERVFAIL with the reason, cached for a moment', async t => {
  const broken = await fakeUpstream(t, () => ({ rcode: 2 }))
  const { dns, clock } = await started(t, [broken.text])
  const first = await ask(dns, 'example.org', 'A', { edns: 1232 })
  t.equal(told(first), 'SERVFAIL')
  const option = (first.additionals?.[0] as { options?: { code: number }[] } | undefined)?.options?.[0]
  t.equal(option?.code, 15, 'an extended error (RFC 8914)')
  t.equal(broken.heard.length, 1)
  await ask(dns, 'example.org', 'A')
  t.equal(broken.heard.length, 1, 'not asked again within a second')
  await clock.advance(1100)
  await ask(dns, 'example.org', 'A')
  t.equal(broken.heard.length, 2)
  await clock.advance(1100)
  await ask(dns, 'example.org', 'A')
  t.equal(broken.heard.length, 2, 'and less often each time')
})

t.test('a silent upstream is down until it answers a probe', async t => {
  const silent = await fakeUpstream(t, () => undefined)
  const good = await fakeUpstream(t, always('192.0.2.1'))
  const { dns, clock } = await started(t, [silent.text, good.text])
  for (const name of ['one.example.org', 'two.example.org']) {
    const before = silent.heard.length
    const asked = ask(dns, name, 'A')
    await eventually(() => silent.heard.length > before || Promise.reject(new Error('wait')))
    await clock.advance(1600)
    t.equal(told(await asked), 'A 192.0.2.1')
  }
  t.match(dns.problems(), [{ code: 'DNS_UPSTREAM', where: silent.text, message: /other upstreams answer/ }])
  const before = silent.heard.length
  t.equal(told(await ask(dns, 'three.example.org', 'A')), 'A 192.0.2.1')
  t.equal(silent.heard.length, before, 'not asked while it is down')

  silent.script = always('192.0.2.2')
  await eventually(async () => {
    await clock.advance(2000)
    if (dns.problems().length > 0) throw new Error('still down')
  })
  t.match(silent.heard.at(-1), { name: '.', type: 'NS' })
  t.equal(told(await ask(dns, 'four.example.org', 'A')), 'A 192.0.2.2')
})

t.test('cached failures end as soon as an upstream recovers', async t => {
  const upstream = await fakeUpstream(t, () => undefined)
  const { dns, clock } = await started(t, [upstream.text])
  const fail = async (name: string) => {
    const asked = ask(dns, name, 'A')
    let done = false
    void asked.then(() => (done = true))
    await eventually(async () => {
      await clock.advance(1600)
      if (!done) throw new Error('wait')
    })
    t.equal(told(await asked), 'SERVFAIL')
  }
  await fail('one.example.org')
  await fail('one.example.org')
  await fail('one.example.org')
  upstream.script = always('192.0.2.1')
  await eventually(async () => {
    await clock.advance(500)
    if (dns.problems().length > 0) throw new Error('still down')
  })
  t.equal(told(await ask(dns, 'one.example.org', 'A')), 'A 192.0.2.1', 'without waiting for its own pause to end')
})

t.test('a closed port fails at once', async t => {
  const gone = await fakeUpstream(t, () => undefined)
  const good = await fakeUpstream(t, always('192.0.2.1'))
  const { dns } = await started(t, ['127.0.0.1:1', good.text])
  t.equal(told(await ask(dns, 'example.org', 'A')), 'A 192.0.2.1')
  t.equal(gone.heard.length, 0)
})

t.test('an upstream without a route to it is a failed one, and no exception', async t => {
  const good = await fakeUpstream(t, always('192.0.2.1'))
  // Connecting to the broadcast address fails without SO_BROADCAST, on every machine, with a network or not.
  const { dns } = await started(t, ['255.255.255.255', good.text])
  t.equal(told(await ask(dns, 'example.org', 'A')), 'A 192.0.2.1')
  t.match(dns.stats().upstreams, [{ failures: 1 }, { failures: 0 }])
})

t.test('with all upstreams silent the client gets SERVFAIL before it gives up', async t => {
  const silent = await fakeUpstream(t, () => undefined)
  const { dns, clock } = await started(t, [silent.text])
  const asked = ask(dns, 'example.org', 'A')
  const tries = () => silent.heard.filter(({ name }) => name === 'example.org').length
  for (let nth = 1; nth <= 3; nth++) {
    await eventually(() => tries() === nth || Promise.reject(new Error(`${tries()} tries of ${nth}`)))
    await clock.advance(1500)
  }
  t.equal(told(await asked), 'SERVFAIL', 'after 4.5 s')
  t.match(dns.problems(), [{ message: /no other upstream is up/ }])
})

t.test('close does not wait for silent upstreams', async t => {
  const silent = await fakeUpstream(t, () => undefined)
  const { dns, clock } = await started(t, [silent.text])
  const client = createSocket('udp4')
  t.teardown(() => client.close())
  client.send(queryBytes('www.example.org', 'A'), dns.address?.port, '127.0.0.1')
  await eventually(() => silent.heard.length > 0 || Promise.reject(new Error('not asked')))
  const reply = once(client, 'message')
  const closed = dns.close()
  await clock.advance(1100)
  await closed
  t.equal(told(dnsPacket.decode((await reply)[0])), 'SERVFAIL', 'and every client gets an answer')
})

t.test('stale answers, when no upstream gives a fresh one', async t => {
  const upstream = await fakeUpstream(t, always('192.0.2.1', 10))
  const { dns, clock } = await started(t, [upstream.text])
  await ask(dns, 'example.org', 'A')
  upstream.script = () => undefined
  await clock.advance(11_000)
  const asked = ask(dns, 'example.org', 'A', { edns: 1232 })
  await eventually(() => upstream.heard.length > 1 || Promise.reject(new Error('wait')))
  await clock.advance(1900)
  const packet = await asked
  t.equal(told(packet), 'A 192.0.2.1')
  t.equal(ttlOf(packet), 30)
  t.match(packet.additionals, [{ options: [{ code: 15 }] }])

  await eventually(async () => {
    await clock.advance(150)
    if (dns.stats().forward.inFlight > 0) throw new Error('still asking')
  })
  upstream.script = always('192.0.2.2', 10)
  await eventually(async () => {
    await clock.advance(1000)
    if (told(await ask(dns, 'example.org', 'A')) !== 'A 192.0.2.2') throw new Error('still stale')
  })
  await clock.advance(3_700_000)
  upstream.script = () => ({ rcode: 2 })
  t.equal(told(await ask(dns, 'example.org', 'A')), 'SERVFAIL', 'stale answers end too')
})

t.test('NXDOMAIN is for every type, but not for an alias whose target is missing', async t => {
  const upstream = await fakeUpstream(t, ({ name, type }) => {
    const alias: dnsPacket.Answer = { type: 'CNAME', name, data: 'gone.example.org', ttl: 60 }
    if (name !== 'alias.example.org') return { rcode: 3, authorities: [soa('example.org', 60, 60)] }
    return type === 'CNAME'
      ? { answers: [alias] }
      : { rcode: 3, answers: [alias], authorities: [soa('example.org', 60, 60)] }
  })
  const { dns } = await started(t, [upstream.text])
  for (const type of ['A', 'TXT']) t.equal(told(await ask(dns, 'missing.example.org', type)), 'NXDOMAIN')
  t.equal(upstream.heard.length, 1)
  t.equal(told(await ask(dns, 'alias.example.org', 'A')), 'CNAME gone.example.org, NXDOMAIN')
  t.equal(told(await ask(dns, 'alias.example.org', 'CNAME')), 'CNAME gone.example.org', 'RFC 2308 2.1')
  t.equal(told(await ask(dns, 'alias.example.org', 'A')), 'CNAME gone.example.org, NXDOMAIN')
  t.equal(upstream.heard.length, 3)
})

t.test('a fresh denial replaces a stale answer', async t => {
  const upstream = await fakeUpstream(t, always('192.0.2.1', 10))
  const { dns, clock } = await started(t, [upstream.text])
  await ask(dns, 'example.org', 'A')
  upstream.script = () => ({ rcode: 3, authorities: [soa('org', 60, 60)] })
  await clock.advance(11_000)
  t.equal(told(await ask(dns, 'example.org', 'A')), 'NXDOMAIN')
  t.equal(told(await ask(dns, 'example.org', 'A')), 'NXDOMAIN')
})

t.test('names in use are refreshed before their TTL ends', async t => {
  const upstream = await fakeUpstream(t, always('192.0.2.1', 100))
  const { dns, clock } = await started(t, [upstream.text])
  for (let i = 0; i < 3; i++) await ask(dns, 'example.org', 'A')
  await clock.advance(95_000)
  t.equal(ttlOf(await ask(dns, 'example.org', 'A')), 5, 'the old answer at once')
  await eventually(async () => {
    if (ttlOf(await ask(dns, 'example.org', 'A')) !== 100) throw new Error('wait')
  })
  t.equal(upstream.heard.length, 2)
})

t.test('domains with their own resolvers', async t => {
  const world = await fakeUpstream(t, always('192.0.2.1'))
  const corp = await fakeUpstream(t, always('192.0.2.2'))
  const lab = await fakeUpstream(t, always('192.0.2.3'))
  const { dns } = await started(t, [world.text], {
    routes: { 'corp.example': [corp.text], 'lab.corp.example.': [lab.text], 'lost.example': ['/nowhere'] },
  })
  const cases = [
    ['example', '192.0.2.1'],
    ['corp.example', '192.0.2.2'],
    ['a.CORP.example', '192.0.2.2'],
    ['xcorp.example', '192.0.2.1'],
    ['a.lab.corp.example', '192.0.2.3'],
  ] as const
  for (const [name, address] of cases) t.equal(told(await ask(dns, name, 'A')), `A ${address}`, name)
  t.equal(told(await ask(dns, 'secret.lost.example', 'A')), 'SERVFAIL', 'and never sent to others')
})

t.test('what is not forwarded', async t => {
  const upstream = await fakeUpstream(t, always('192.0.2.1'))
  const { dns } = await started(t, [upstream.text])
  t.equal(told(await ask(dns, 'example.org', 'A', { flags: 0 })), 'REFUSED', 'recursion not requested')
  t.equal(told(await ask(dns, 'example.org', 'ANY')), 'HINFO RFC8482')
  t.equal(told(await ask(dns, 'example.org', 'AXFR')), 'REFUSED')
  t.equal(told(await ask(dns, 'nobody.default.svc.cluster.local', 'A')), 'NXDOMAIN')
  t.equal(upstream.heard.length, 0)
  const alone = await started(t, [])
  t.equal(told(await ask(alone.dns, 'example.org', 'A')), 'REFUSED', 'with no upstream')
})

t.test('an alias out of our zones', async t => {
  const upstream = await fakeUpstream(t, ({ name, type }) =>
    type === 'A'
      ? { answers: [{ type: 'CNAME', name, data: 'cdn.example.net', ttl: 50 }, a('cdn.example.net', '192.0.2.7', 40)] }
      : { authorities: [soa('org', 60, 60)] },
  )
  const { dns, clock } = await started(t, [upstream.text])
  const name = 'outside.default.svc.cluster.local'
  const plain = 'CNAME www.example.org, NODATA'
  t.equal(told(await ask(dns, name, 'A', { flags: 0 })), plain, 'not followed without recursion')
  t.equal(upstream.heard.length, 0)
  const expected = 'CNAME www.example.org, CNAME cdn.example.net, A 192.0.2.7'
  const packet = await ask(dns, name, 'A')
  t.equal(told(packet), expected)
  t.ok(packet.flag_aa)
  await clock.advance(10_000)
  const later = await ask(dns, name, 'A')
  t.same(
    later.answers?.map(answer => ('ttl' in answer ? answer.ttl : 0)),
    [5, 40, 30],
    'the TTLs of the target count down, ours does not',
  )
  t.equal(upstream.heard.length, 1)
  t.equal(told(await ask(dns, name, 'AAAA')), 'CNAME www.example.org, NODATA')
  t.equal(told(await ask(dns, name, 'CNAME')), 'CNAME www.example.org')
  t.equal(
    told(await ask(dns, name, 'TXT', { flags: 0 })),
    'CNAME www.example.org, NODATA',
    'not followed without recursion',
  )
  t.equal(upstream.heard.length, 2)
  upstream.script = () => ({ rcode: 2 })
  t.equal(told(await ask(dns, name, 'MX')), 'CNAME www.example.org, SERVFAIL', 'when no upstream answers')
})

t.test('resolv.conf is read, and read again when it changes', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'starlane-dns-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const file = join(folder, 'resolv.conf')
  const { dns, clock } = await started(t, [file])
  t.match(dns.problems(), [{ code: 'DNS_UPSTREAM', where: file, message: /cannot be read.*give an address/ }])
  await writeFile(file, '# nothing\n')
  await eventually(async () => {
    await clock.advance(5000)
    if (!/has no nameserver line/.test(dns.problems()[0]?.message ?? '')) throw new Error('not read')
  })
  await writeFile(file, 'nameserver 192.0.2.53\n')
  await eventually(async () => {
    await clock.advance(5000)
    if (dns.problems().length > 0) throw new Error('not read')
  })
  t.pass()
})

t.test('resolv.conf, line by line', async t => {
  const text = [
    '; comment',
    'domain first.example',
    'nameserver 192.0.2.1 # mine',
    'nameserver 192.0.2.1',
    'nameserver ::ffff:192.0.2.2',
    'nameserver fd00::53',
    'nameserver fe80::1%eth0',
    'nameserver dns.example',
    'search Default.svc.cluster.local. svc.cluster.local',
    'options ndots:5',
  ].join('\n')
  t.same(parseResolvConf(text), {
    nameservers: ['192.0.2.1', '192.0.2.2', 'fd00::53'],
    search: ['default.svc.cluster.local', 'svc.cluster.local'],
  })
})

t.test('an upstream that is Starlane itself is left out', async t => {
  const probe = await fakeUpstream(t, () => undefined)
  const { dns } = await started(t, [`127.0.0.9:${probe.port}`], { listen: { address: '127.0.0.9', port: probe.port } })
  t.match(dns.problems(), [{ code: 'DNS_UPSTREAM', where: '127.0.0.9', message: /Starlane itself/ }])
  t.equal(told(await ask(dns, 'example.org', 'A')), 'REFUSED')
})

t.test('an upstream that sends our queries back is detected, not asked, and probed again', async t => {
  let dns: DnsResponder | undefined
  const back: Script = async ({ name, type }) => ({
    rcode: dns && told(await ask(dns, name, type)) === 'REFUSED' ? 5 : 2,
  })
  const mirror = await fakeUpstream(t, back)
  mirror.hearsProbes = true
  const good = await fakeUpstream(t, always('192.0.2.1'))
  const both = await started(t, [mirror.text, good.text])
  dns = both.dns
  await eventually(() => both.dns.problems().length > 0 || Promise.reject(new Error('not detected')))
  t.match(both.dns.problems(), [{ code: 'DNS_UPSTREAM', where: mirror.text, message: /forwards our queries back/ }])
  t.match(mirror.heard, [{ type: 'HINFO' }])
  t.equal(told(await ask(both.dns, 'example.org', 'A')), 'A 192.0.2.1')
  t.equal(mirror.heard.length, 1)

  mirror.script = heard => (heard.type === 'HINFO' ? { rcode: 3 } : always('192.0.2.2')(heard))
  await both.clock.advance(61_000)
  t.same(both.dns.problems(), [])
  t.equal(told(await ask(both.dns, 'example.net', 'A')), 'A 192.0.2.2')
  t.equal(mirror.heard[1]?.type, 'HINFO', 'probed before it was asked')
})

t.test('one client cannot use all questions in flight', async t => {
  const silent = await fakeUpstream(t, () => undefined)
  const { dns } = await started(t, [silent.text], { forward: { perClient: 3, concurrent: 5 } })
  const flood = (client: string, n: number) =>
    Array.from({ length: n }, (_, i) =>
      ask(dns, `${client}-${i}.example.org`, 'A', { client: { address: client, port: 1 } }),
    )
  const first = flood('10.0.0.1', 10).slice(3)
  t.same((await Promise.all(first)).map(told), Array(7).fill('SERVFAIL'))
  const second = flood('10.0.0.2', 3).slice(2)
  t.equal(told(await (second[0] as Promise<Decoded>)), 'SERVFAIL', 'and their total is bounded')
  t.match(dns.stats().forward, { inFlight: 5, refused: 8 })
})

t.test('autopath: the first step of a search path gets the answer of the last', async t => {
  const upstream = await fakeUpstream(t, ({ name, type }) =>
    name !== 'www.example.org'
      ? { rcode: 3, authorities: [soa('org', 60, 60)] }
      : type === 'A'
        ? { answers: [a(name, '192.0.2.1')] }
        : { authorities: [soa('org', 60, 60)] },
  )
  const { dns } = await started(t, [upstream.text], { autopath: true })
  const Z = 'svc.cluster.local'
  t.equal(told(await ask(dns, `www.example.org.default.${Z}`, 'A')), 'CNAME www.example.org, A 192.0.2.1')
  t.equal(told(await ask(dns, `www.example.org.default.${Z}`, 'AAAA')), 'CNAME www.example.org, NODATA')
  t.equal(told(await ask(dns, `no.example.org.default.${Z}`, 'A')), 'NXDOMAIN')
  const asked = upstream.heard.length
  for (const name of [
    `www.example.org.nowhere.${Z}`,
    `www.default.${Z}`,
    `web-0.rebel-base.default.${Z}`,
    `www.example.org.${Z}`,
  ]) {
    t.equal(told(await ask(dns, name, 'A')), 'NXDOMAIN', name)
  }
  t.equal(upstream.heard.length, asked, 'only search steps are forwarded')
  const service = 'rebel-base.default.svc.cluster.local'
  t.equal(told(await ask(dns, `rebel-base.default.default.${Z}`, 'A')), `CNAME ${service}, A 127.96.0.10`)
})
