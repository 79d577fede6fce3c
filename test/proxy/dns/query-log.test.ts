/** The query log and its filter. */
import t from 'tap'
import { parseCidr } from '../../../proxy/model/address.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { FakeDirectory, globalService } from '../../support/model.ts'
import { ask, responder } from './dns.ts'

const service = 'rebel-base.default.svc.cluster.local'
t.test('the query log has the queries that match its filter', async t => {
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
