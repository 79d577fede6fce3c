import { spawnSync } from 'node:child_process'
import t from 'tap'
import { createMetrics, type Metrics } from '../../../proxy/admin/metrics.ts'
import type { CloseReason, Result } from '../../../proxy/model/flow.ts'
import { backend, FakeDirectory, flow, globalService } from '../../support/model.ts'
import { status } from './fixture.ts'

const here = backend({ address: '127.1.0.11', health: 'up' })
const there = backend({ address: '127.2.0.11', cluster: 'cluster-2', health: 'down' })
const service = globalService({ backends: [here, there] })

function setup(directory = new FakeDirectory(service)) {
  let open = { connections: 17, udpSessions: 2, listeners: 4 }
  const metrics = createMetrics({ directory, status: () => status, open: () => open })
  return {
    directory,
    metrics,
    holdOpen: (now: typeof open) => {
      open = now
    },
  }
}

/** Series to value, with the labels in alphabetical order. */
async function read(metrics: Metrics): Promise<Record<string, number>> {
  const lines = (await metrics.text()).split('\n').filter(line => line !== '' && !line.startsWith('#'))
  return Object.fromEntries(
    lines.map(line => {
      const [, name, labels, value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
      const sorted = (labels?.match(/\w+="[^"]*"/g) ?? []).sort().join(',')
      return [sorted ? `${name}{${sorted}}` : name, Number(value)]
    }),
  )
}

const connected: Result = { outcome: 'connected', ms: 3 }
const totals = (reason: CloseReason) => ({ sent: 100, received: 2000, ms: 50, reason })

t.test('flows are counted by service, protocol, cluster and how they went', async t => {
  const { metrics } = setup()
  const one = flow(service)
  metrics.flows.connecting(one, there)
  metrics.flows.result(one, there, { outcome: 'refused', ms: 1 })
  metrics.flows.result(one, here, connected)
  metrics.flows.closed(one, here, totals('done'))
  metrics.flows.result(flow(service), here, connected)
  metrics.flows.closed(flow(service), here, totals('client-reset'))
  metrics.flows.refused(flow(service), { code: 'tenancy', why: 'another tenant' })

  const seen = await read(metrics)
  const on = (cluster: string, rest = '') =>
    `{cluster="${cluster}",namespace="default",${rest}protocol="TCP",service="rebel-base"}`
  t.equal(seen[`starlane_attempts_total${on('cluster-2', 'outcome="refused",')}`], 1)
  t.equal(seen[`starlane_attempts_total${on('cluster-1', 'outcome="connected",')}`], 2)
  t.equal(
    seen[
      'starlane_closes_total{cluster="cluster-1",namespace="default",protocol="TCP",reason="done",service="rebel-base"}'
    ],
    1,
  )
  t.equal(seen[`starlane_sent_bytes_total${on('cluster-1')}`], 200)
  t.equal(seen[`starlane_received_bytes_total${on('cluster-1')}`], 4000)
  t.equal(seen['starlane_refusals_total{code="tenancy",namespace="default",protocol="TCP",service="rebel-base"}'], 1)
  t.equal(seen['starlane_dial_duration_seconds_count{cluster="cluster-1",protocol="TCP"}'], 2)
  t.equal(seen['starlane_dial_duration_seconds_bucket{cluster="cluster-1",le="0.0025",protocol="TCP"}'], 0)
  t.equal(seen['starlane_dial_duration_seconds_bucket{cluster="cluster-1",le="0.005",protocol="TCP"}'], 2)
  t.equal(
    seen['starlane_dial_duration_seconds_count{cluster="cluster-2",protocol="TCP"}'],
    undefined,
    'a refusal took no dial',
  )
  t.notOk(
    Object.keys(seen).some(series => series.includes('timeout')),
    'what never happened takes no room',
  )
})

t.test('a second scrape shows the same numbers, and more where more came', async t => {
  const { metrics, holdOpen } = setup()
  metrics.flows.result(flow(service), here, connected)
  const series =
    'starlane_attempts_total{cluster="cluster-1",namespace="default",outcome="connected",protocol="TCP",service="rebel-base"}'
  t.equal((await read(metrics))[series], 1)
  holdOpen({ connections: 18, udpSessions: 0, listeners: 4 })
  const [a, b] = await Promise.all([read(metrics), read(metrics)])
  t.equal(a[series], 1)
  t.equal(b[series], 1)
  t.equal(a.starlane_connections, 18)
  metrics.flows.result(flow(service), here, connected)
  t.equal((await read(metrics))[series], 2)
})

t.test('a service that is gone takes its numbers along, also when its last flows end later', async t => {
  const { metrics, directory } = setup()
  const last = flow(service)
  metrics.flows.result(last, here, connected)
  directory.remove(service.key)
  metrics.flows.closed(last, here, totals('removed'))
  metrics.flows.refused(flow(service), { code: 'no-backend', why: 'gone' })
  const mentioned = (seen: Record<string, number>) => Object.keys(seen).filter(series => series.includes('rebel-base'))
  t.same(mentioned(await read(metrics)), [])
  directory.set(service)
  metrics.flows.result(flow(service), here, connected)
  t.not(mentioned(await read(metrics)).length, 0)
})

t.test('codes that somebody makes up do not make series without end', async t => {
  const { metrics } = setup()
  for (let i = 0; i < 100; i++) metrics.flows.refused(flow(service), { code: `made-up-${i}`, why: '' })
  const seen = Object.entries(await read(metrics)).filter(([series]) => series.startsWith('starlane_refusals_total'))
  t.equal(seen.length, 33)
  t.equal(
    seen.reduce((sum, [, value]) => sum + value, 0),
    100,
  )
})

t.test('UDP is told from TCP', async t => {
  const udp = globalService({ ports: [{ name: 'comms', protocol: 'UDP', port: 5000 }], backends: [here] })
  const { metrics } = setup(new FakeDirectory(udp))
  metrics.flows.result(flow(udp), here, connected)
  const seen = await read(metrics)
  t.equal(
    seen[
      'starlane_attempts_total{cluster="cluster-1",namespace="default",outcome="connected",protocol="UDP",service="rebel-base"}'
    ],
    1,
  )
})

t.test('gauges show the moment', async t => {
  const seen = await read(setup().metrics)
  t.equal(seen['starlane_info{cluster="cluster-1",version="0.1.0"}'], 1)
  t.equal(seen.starlane_ready, 1)
  t.equal(seen.starlane_connections, 17)
  t.equal(seen.starlane_udp_sessions, 2)
  t.equal(seen.starlane_listeners, 4)
  t.equal(seen.starlane_services, 1)
  t.equal(seen['starlane_backends{cluster="cluster-1",health="up",state="active"}'], 1)
  t.equal(seen['starlane_backends{cluster="cluster-2",health="down",state="active"}'], 1)
  t.equal(seen['starlane_cluster_link{cluster="cluster-3",state="lost"}'], 1)
  t.equal(seen['starlane_cluster_link{cluster="cluster-3",state="live"}'], 0)
  t.equal(seen['starlane_cluster_services{cluster="cluster-2"}'], 9)
  t.equal(seen['starlane_cluster_changed_age_seconds{cluster="cluster-2"}'], 95)
  t.equal(seen['starlane_problems{code="SERVICE_ANNOTATION"}'], 1)
  t.ok((seen.process_resident_memory_bytes ?? 0) > 0, 'and of the process')
})

t.test('DNS is counted by what was asked and answered, and inventions are "other"', async t => {
  const { dns, ...metrics } = setup().metrics
  dns.query(1, 0, 'udp', 0.0002)
  dns.query(28, 3, 'tcp', 0.0002)
  for (let type = 300; type < 400; type++) dns.query(type, 11, 'udp', 0.1)
  dns.cache(true)
  dns.cache(false)
  dns.cache(false)
  dns.forward('10.0.0.2:53', 0, 0.02)
  dns.forward('10.0.0.2:53', undefined, 1.5)
  for (let i = 0; i < 100; i++) dns.forward(`10.0.1.${i}:53`, 2, 0.02)

  const seen = await read({ dns, ...metrics })
  t.equal(seen['starlane_dns_requests_total{transport="udp",type="A"}'], 1)
  t.equal(seen['starlane_dns_requests_total{transport="tcp",type="AAAA"}'], 1)
  t.equal(seen['starlane_dns_requests_total{transport="udp",type="other"}'], 100)
  t.equal(seen['starlane_dns_responses_total{rcode="NXDOMAIN"}'], 1)
  t.equal(seen['starlane_dns_responses_total{rcode="other"}'], 100)
  t.equal(seen.starlane_dns_request_duration_seconds_count, 102)
  t.equal(seen.starlane_dns_cache_hits_total, 1)
  t.equal(seen.starlane_dns_cache_misses_total, 2)
  t.equal(seen['starlane_dns_forwards_total{rcode="NOERROR",upstream="10.0.0.2:53"}'], 1)
  t.equal(seen['starlane_dns_forwards_total{rcode="none",upstream="10.0.0.2:53"}'], 1)
  t.equal(seen['starlane_dns_forward_duration_seconds_count{upstream="10.0.0.2:53"}'], 1, 'silence took no time')
  const upstreams = Object.keys(seen).filter(series => series.startsWith('starlane_dns_forwards_total'))
  t.ok(upstreams.length <= 66, 'upstreams are bounded too')
})

t.test('each metric keeps the rules of its type, its unit and its help', async t => {
  const { metrics } = setup()
  metrics.flows.result(flow(service), here, connected)
  metrics.dns.query(1, 0, 'udp', 0.0002)
  const text = await metrics.text()
  const described = [...text.matchAll(/^# HELP (starlane_\w+) (.+)\n# TYPE \1 (\w+)$/gm)]
  t.ok(described.length > 20)
  for (const [, name = '', help = '', type] of described) {
    t.match(help, /^[A-Z1].*\.$/, `${name} is explained in a sentence`)
    t.equal(name.endsWith('_total'), type === 'counter', `${name} is a ${type}`)
    if (type === 'histogram') t.match(name, /_seconds$/)
    t.notMatch(name, /(_ms|_millis|_milliseconds|_percent|_count|_sum|_bucket)$/)
  }
  t.match(text, /\n$/)
})

const promtool = spawnSync('promtool', ['--version']).error ? 'promtool is not installed' : false

t.test('promtool finds nothing to say', { skip: promtool }, async t => {
  const { metrics } = setup()
  metrics.flows.result(flow(service), here, connected)
  metrics.flows.refused(flow(service), { code: 'tenancy', why: '' })
  metrics.dns.forward('10.0.0.2:53', 0, 0.02)
  const text = await metrics.text()
  // What the library says of the process is not ours to name.
  const ours = text
    .split('\n\n')
    .filter(metric => metric.startsWith('# HELP starlane_'))
    .join('\n')
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
    input: `${ours.trim()}\n`,
    encoding: 'utf8',
  })
  t.equal(`${stdout}${stderr}`, '')
  t.equal(status, 0)
})
