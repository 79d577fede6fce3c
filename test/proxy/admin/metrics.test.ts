/** The metrics page. */
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { openMetricsOf } from '../../../proxy/admin/metrics/open-metrics.ts'
import { createMetrics, type Metrics } from '../../../proxy/admin/metrics.ts'
import type { CloseReason, Result } from '../../../proxy/model/flow.ts'
import type { DnsStats } from '../../../proxy/model/stats/dns.ts'
import type { PluginCounter } from '../../../proxy/model/stats/plugin.ts'
import { backend, FakeDirectory, flow, globalService } from '../../support/model.ts'
import { status } from './fixture.ts'

const here = backend({ address: '127.1.0.11', health: 'up' })
const there = backend({ address: '127.2.0.11', cluster: 'cluster-2', health: 'down' })
const service = globalService({ backends: [here, there] })

function setup(directory = new FakeDirectory(service)) {
  let open = { connections: 17, udpSessions: 2, listeners: 4 }
  const dns = { ...noDns }
  const counters: PluginCounter[] = []
  const metrics = createMetrics({
    directory,
    examine: async () => {},
    status: () => status,
    open: () => open,
    dns: () => dns,
    health: () => health,
    plugins: () => counters,
    pluginFaults: () => [{ plugin: 'quota', hook: 'admit', count: 3 }],
  })
  return {
    dns,
    counters,
    directory,
    metrics,
    holdOpen: (now: typeof open) => {
      open = now
    },
  }
}

const health = {
  backends: 5,
  down: 0,
  targets: 2,
  checks: { passed: 5, failed: 1, local: 0, traffic: 0 },
  inFlight: 1,
  lateMs: 250,
  ejected: 1,
  ejections: 3,
  heldBack: 1,
}

const noDns: DnsStats = {
  requests: [],
  responses: [],
  zones: [],
  dnssecRequests: 0,
  dropped: 0,
  limited: 0,
  answerCache: { entries: 0, hits: 0, misses: 0 },
  cache: {
    entries: 0,
    bytes: 0,
    hits: 0,
    denialHits: 0,
    misses: 0,
    stale: 0,
    prefetches: 0,
    coalesced: 0,
    evictions: 0,
  },
  forward: { inFlight: 0, refused: 0, failures: 0 },
  upstreams: [],
  tcp: { connections: 0, refused: 0 },
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

t.test('flows are counted by service, protocol, cluster and outcome', async t => {
  const { metrics } = setup()
  const one = flow(service)
  metrics.flows.result(one, there, { outcome: 'refused', ms: 1 })
  metrics.flows.result(one, here, connected)
  metrics.flows.closed(one, here, totals('done'))
  metrics.flows.result(flow(service), here, connected)
  const told = { sent: 60, received: 1500 }
  metrics.flows.carried(one, here, told, told)
  metrics.flows.closed(flow(service), here, { ...totals('client-reset'), told })
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

t.test('a second scrape shows the same numbers, plus new events', async t => {
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

t.test('the counts of a removed service are removed, even if its last flows end later', async t => {
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

t.test('refusal codes do not create an unbounded number of series', async t => {
  const { metrics } = setup()
  for (let i = 0; i < 100; i++) metrics.flows.refused(flow(service), { code: `made-up-${i}`, why: '' })
  const seen = Object.entries(await read(metrics)).filter(([series]) => series.startsWith('starlane_refusals_total'))
  t.equal(seen.length, 33)
  t.equal(
    seen.reduce((sum, [, value]) => sum + value, 0),
    100,
  )
})

t.test('UDP and TCP are counted separately', async t => {
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

t.test('gauges show the current state', async t => {
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

t.test('the counters of DNS, health and plugins are read at each scrape', async t => {
  const { metrics, dns, counters } = setup()
  const spread = { bounds: [0.001, 0.01], counts: [3, 1, 1], sum: 0.5 }
  Object.assign(dns, {
    requests: [{ zone: 'cluster.local.', transport: 'udp', family: 4, type: 'A', count: 4 }],
    responses: [{ zone: 'cluster.local.', rcode: 'NXDOMAIN', count: 2 }],
    zones: [{ zone: 'cluster.local.', duration: spread, requestBytes: spread, responseBytes: spread }],
    upstreams: [
      {
        name: '10.0.0.2:53',
        state: 'up',
        requests: 3,
        failures: 1,
        probeFailures: 2,
        duration: spread,
        rcodes: { NOERROR: 2 },
      },
    ],
  })
  const seen = await read(metrics)
  t.equal(seen['starlane_dns_requests_total{family="4",proto="udp",type="A",zone="cluster.local."}'], 4)
  t.equal(seen['starlane_dns_responses_total{rcode="NXDOMAIN",zone="cluster.local."}'], 2)
  t.equal(seen['starlane_dns_request_duration_seconds_bucket{le="0.01",zone="cluster.local."}'], 4, 'buckets add up')
  t.equal(seen['starlane_dns_request_duration_seconds_bucket{le="+Inf",zone="cluster.local."}'], 5)
  t.equal(seen['starlane_dns_request_duration_seconds_count{zone="cluster.local."}'], 5)
  t.equal(seen['starlane_dns_request_duration_seconds_sum{zone="cluster.local."}'], 0.5)
  t.equal(seen['starlane_dns_upstream_responses_total{rcode="NOERROR",to="10.0.0.2:53"}'], 2)
  t.equal(seen['starlane_health_checks_total{outcome="failed"}'], 1)
  t.equal(seen.starlane_health_check_late_seconds, 0.25)
  t.equal(seen['starlane_plugin_hook_faults_total{hook="admit",plugin="quota"}'], 3)

  counters.push({ metric: 'starlane_plugin_quota_spent_total', help: 'Spent.', value: 7 })
  t.equal((await read(metrics)).starlane_plugin_quota_spent_total, 7, 'a counter may come later')
  counters.length = 0
  t.equal((await read(metrics)).starlane_plugin_quota_spent_total, undefined, 'and go with its plugin')
})

t.test('each metric follows the naming rules', async t => {
  const { metrics } = setup()
  metrics.flows.result(flow(service), here, connected)
  const text = await metrics.text()
  const described = [...text.matchAll(/^# HELP (starlane_\w+) (.+)\n# TYPE \1 (\w+)$/gm)]
  t.ok(described.length > 20)
  for (const [, name = '', help = '', type] of described) {
    t.match(help, /^[A-Z1].*\.$/, `${name} is explained in a sentence`)
    t.equal(name.endsWith('_total'), type === 'counter', `${name} is a ${type}`)
    if (type === 'histogram') t.match(name, /_(seconds|bytes)$/)
    t.notMatch(name, /(_ms|_millis|_milliseconds|_percent|_count|_sum|_bucket)$/)
  }
  t.match(text, /\n$/)
})

/** What promtool says of our metrics; what the library says of the process is not ours to name. */
function complaints(text: string): string {
  const ours = text
    .split('\n\n')
    .filter(metric => metric.startsWith('# HELP starlane_'))
    .join('\n')
  const input = `${ours.trim()}\n`
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input, encoding: 'utf8' })
  return status === 0 ? `${stdout}${stderr}` : `${status}: ${stdout}${stderr}`
}

const promtool = spawnSync('promtool', ['--version']).error ? 'promtool is not installed' : false

t.test(
  'names that other clusters give: the page stays what a scraper reads, and bounded',
  { skip: promtool },
  async t => {
    const { metrics, counters } = setup()
    const hostile = `"\\\\\n\r\u0000\u001b\u202e\ud800} 1\n# TYPE x counter\n${'n'.repeat(10_000)}`
    for (const changes of [{ namespace: hostile }, { name: hostile }]) {
      const named = { ...globalService({ backends: [there] }), ...changes, key: `${hostile}/${changes.name ?? 'x'}` }
      metrics.flows.result(flow(named), { ...there, cluster: hostile }, connected)
      metrics.flows.closed(flow(named), { ...there, cluster: hostile }, totals('done'))
    }
    for (let i = 0; i < 2000; i++) metrics.flows.refused(flow(service), { code: `${hostile}${i}`, why: hostile })
    counters.push({ metric: 'starlane_plugin_x_total', help: 'Counts.', value: 1, labels: { name: hostile } })
    const text = await metrics.text()
    t.ok(Math.max(...text.split('\n').map(line => line.length)) < 3000, 'no line is long')
    t.ok(text.length < 500_000)
    for (const form of [text, openMetricsOf(text)]) {
      const lines = form.split('\n').filter(line => line !== '' && !line.startsWith('#'))
      for (const line of lines)
        if (!/^\w+(\{(\w+="([^"\\]|\\["n\\])*",?)*\})? \S+( # .*)?$/.test(line)) t.fail(JSON.stringify(line))
    }
    t.equal((text.match(/^# TYPE x counter/gm) ?? []).length, 0)
    t.equal(complaints(text), '')
  },
)

t.test('promtool has no complaints', { skip: promtool }, async t => {
  const { metrics } = setup()
  metrics.flows.result(flow(service), here, connected)
  metrics.flows.refused(flow(service), { code: 'tenancy', why: '' })
  const text = await metrics.text()
  t.equal(complaints(text), '')
})

t.test('tunnels, and the gateway of this cluster', async t => {
  const certificate = { id: 'spiffe://mesh/ns/cluster-2/sa/gateway', validTo: 1_900_000_000_000 }
  const way = {
    gateway: 'gw:15008',
    state: 'open',
    since: 0,
    tunnels: 2,
    streams: 130,
    roundTripMs: 25,
    certificate,
  } as const
  const lost = { gateway: 'gw2:15008', state: 'lost', since: 0, error: 'refused', tunnels: 0, streams: 0 } as const
  const metrics = createMetrics({
    directory: new FakeDirectory(),
    examine: async () => {},
    status: () => ({
      ...status,
      clusters: status.clusters.map(one => (one.name === 'cluster-2' ? { ...one, tunnels: [way, lost] } : one)),
      gateway: { sessions: 1, streams: 3, refused: 4, clusters: [{ cluster: 'cluster-3', sessions: 1, streams: 3 }] },
    }),
    open: () => ({ connections: 0, udpSessions: 0, listeners: 0 }),
    dns: () => noDns,
    health: () => health,
    plugins: () => [],
    pluginFaults: () => [],
  })
  const seen = await read(metrics)
  const of = (name: string, gateway: string, more = '') =>
    seen[`starlane_${name}{cluster="cluster-2",gateway="${gateway}"${more}}`]
  t.equal(of('tunnel_state', 'gw:15008', ',state="open"'), 1)
  t.equal(of('tunnel_state', 'gw2:15008', ',state="open"'), 0)
  t.equal(of('tunnel_state', 'gw2:15008', ',state="lost"'), 1)
  t.equal(of('tunnels', 'gw:15008'), 2)
  t.equal(of('tunnel_streams', 'gw:15008'), 130)
  t.equal(of('tunnel_round_trip_seconds', 'gw:15008'), 0.025)
  t.equal(of('tunnel_round_trip_seconds', 'gw2:15008'), undefined)
  t.equal(of('tunnel_certificate_end_seconds', 'gw:15008'), 1_900_000_000)
  t.equal(seen['starlane_gateway_streams{cluster="cluster-3"}'], 3)
  t.equal(seen.starlane_gateway_refused_total, 4)
})
