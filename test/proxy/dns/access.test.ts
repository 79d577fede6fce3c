/** Who is answered, and how much. */
import dnsPacket from 'dns-packet'
import t from 'tap'
import type { DnsOptions } from '../../../proxy/dns/options.ts'
import { type Cidr, parseCidr } from '../../../proxy/model/address.ts'
import { FakeDirectory, globalService } from '../../support/model.ts'
import { ask, queryBytes, responder, told } from './dns.ts'
import { fakeUpstream } from './upstream.ts'

const service = 'rebel-base.default.svc.cluster.local'
const full = 'A 127.96.0.10'

function ranges(...texts: string[]): Cidr[] {
  return texts.map(text => parseCidr(text) ?? t.fail(text)) as Cidr[]
}

function at(listen: string, options: Partial<DnsOptions> = {}) {
  const dns = responder(new FakeDirectory(globalService()), { listen: { address: listen, port: 0 }, ...options })
  return (address: string, transport: 'udp' | 'tcp' = 'udp') =>
    ask(dns, service, 'A', { client: { address, port: 1 }, transport, edns: 1232 }).then(told)
}

t.test('off loopback only private networks and those of the clusters are answered', async t => {
  const wildcard = at('0.0.0.0', { networks: ranges('203.0.112.0/20') })
  for (const address of [
    '10.1.2.3',
    '172.31.0.1',
    '192.168.1.1',
    '100.64.0.9',
    '127.0.0.1',
    'fd00::1',
    'fe80::1',
    '203.0.113.9',
  ])
    t.equal(await wildcard(address), full, address)
  for (const address of ['8.8.8.8', '172.32.0.1', '100.128.0.1', '203.0.128.1', '2001:db8::1']) {
    t.equal(await wildcard(address), 'REFUSED', address)
    t.equal(await wildcard(address, 'tcp'), 'REFUSED', `${address} over TCP`)
  }
  t.equal(await at('127.0.0.1')('8.8.8.8'), full, 'at a loopback address every client is of this machine')
})

t.test('the list of clients, and those that are trusted', async t => {
  const asked = at('10.0.0.5', { access: { allow: ranges('10.1.0.0/16'), trusted: ranges('10.2.0.7/32') } })
  t.equal(await asked('10.1.9.9'), full)
  t.equal(await asked('10.2.0.7'), full)
  t.equal(await asked('10.2.0.8'), 'REFUSED')
  t.equal(await asked('127.0.0.1'), full, 'a probe of this machine')
})

t.test('a refused client gets no more than it sent, and no answer to nonsense but an error', async t => {
  const dns = responder(new FakeDirectory(globalService()), { listen: { address: '0.0.0.0', port: 0 } })
  const client = { address: '8.8.8.8', port: 53 }
  for (const message of [queryBytes(service, 'A'), queryBytes(service, 'ANY', { edns: 4096 }), Buffer.alloc(40)]) {
    const reply = (await dns.respond(message, client, 'udp')) as Buffer
    t.ok(reply.length <= message.length)
    t.match(dnsPacket.decode(reply), { rcode: 'REFUSED' })
  }
})

t.test('off loopback replies are limited, but for trusted forwarders and probes', async t => {
  const dns = responder(new FakeDirectory(globalService()), {
    listen: { address: '0.0.0.0', port: 0 },
    access: { trusted: ranges('10.96.0.0/24') },
  })
  const answered = (address: string) =>
    Array.from(
      { length: 5000 },
      () => dns.respond(queryBytes(service, 'A'), { address, port: 9 }, 'udp') as Buffer,
    ).filter(reply => reply && dnsPacket.decode(reply).answers?.length).length
  t.equal(answered('10.0.0.1'), 2000, 'a burst of two seconds')
  t.equal(answered('10.0.0.2'), 2000, 'others have their own')
  t.equal(answered('10.96.0.10'), 5000, 'CoreDNS')
  t.equal(answered('127.0.0.1'), 5000, 'a probe')
})

t.test('a lone client may have most forwarded questions in flight, and leaves room for others', async t => {
  const silent = await fakeUpstream(t, () => undefined)
  const dns = responder(new FakeDirectory(globalService()), {
    upstream: [silent.text],
    forward: { concurrent: 80 },
    access: { trusted: ranges('10.0.9.0/24') },
  })
  await dns.start()
  t.teardown(() => dns.close())
  let failed = 0
  const asking = (address: string, n: number) => {
    for (let i = 0; i < n; i++) {
      const message = queryBytes(`${address.replaceAll('.', '-')}-${i}.example.org`, 'A')
      const reply = dns.respond(message, { address, port: 1 }, 'udp') as Promise<Buffer>
      void reply.then(() => failed++)
    }
  }
  const inFlight = () => dns.stats().forward.inFlight
  asking('10.0.0.1', 200)
  t.equal(inFlight(), 70, 'seven eighths')
  asking('10.0.0.2', 3)
  asking('10.0.0.3', 3)
  t.equal(inFlight(), 76)
  asking('10.0.9.1', 10)
  t.equal(inFlight(), 80, 'trusted ones take what is left')
  await new Promise(resolve => setImmediate(resolve))
  t.equal(failed, 130 + 6, 'the others fail at once')
})
