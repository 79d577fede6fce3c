/** The limit of UDP replies per client. */
import dnsPacket from 'dns-packet'
import t from 'tap'
import { FakeClock } from '../../support/clock.ts'
import { FakeDirectory, globalService } from '../../support/model.ts'
import { ask, queryBytes, responder, told } from './dns.ts'

const service = 'rebel-base.default.svc.cluster.local'
t.test('a client over its rate gets few replies, with TC so that it retries over TCP', async t => {
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
