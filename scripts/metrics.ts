// Writes docs/metrics.md from the registry. test/deploy/metrics.test.ts fails when the file is not what this writes.
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { createMetrics, type MetricDescription } from '../proxy/admin/metrics.ts'

/** An example query of each metric of Starlane. */
export const examples: Readonly<Record<string, string>> = {
  starlane_info: 'count by (version) (starlane_info)',
  starlane_ready: 'starlane_ready == 0',
  starlane_connections: 'sum(starlane_connections)',
  starlane_udp_sessions: 'sum(starlane_udp_sessions)',
  starlane_listeners: 'starlane_listeners',
  starlane_services: 'max(starlane_services)',
  starlane_backends: 'max by (cluster) (sum by (cluster, instance) (starlane_backends{health="down"}))',
  starlane_cluster_link: 'starlane_cluster_link{state="lost"} == 1',
  starlane_cluster_services: 'starlane_cluster_services',
  starlane_cluster_changed_age_seconds: 'max by (cluster) (starlane_cluster_changed_age_seconds)',
  starlane_problems: 'sum by (code) (starlane_problems)',
  starlane_attempts_total:
    'sum by (namespace, service) (rate(starlane_attempts_total{outcome!="connected"}[5m])) / sum by (namespace, service) (rate(starlane_attempts_total[5m]))',
  starlane_closes_total: 'sum by (reason) (rate(starlane_closes_total[5m]))',
  starlane_refusals_total: 'topk(10, sum by (namespace, service, code) (rate(starlane_refusals_total[5m])))',
  starlane_sent_bytes_total: 'sum by (cluster) (rate(starlane_sent_bytes_total[5m]))',
  starlane_received_bytes_total: 'sum by (cluster) (rate(starlane_received_bytes_total[5m]))',
  starlane_dial_duration_seconds:
    'histogram_quantile(0.99, sum by (le, cluster) (rate(starlane_dial_duration_seconds_bucket[5m])))',
  starlane_dns_requests_total: 'sum by (type) (rate(starlane_dns_requests_total[5m]))',
  starlane_dns_responses_total: 'sum by (rcode) (rate(starlane_dns_responses_total[5m]))',
  starlane_dns_do_requests_total: 'sum(rate(starlane_dns_do_requests_total[5m]))',
  starlane_dns_dropped_total: 'sum(rate(starlane_dns_dropped_total[5m]))',
  starlane_dns_limited_total: 'sum(rate(starlane_dns_limited_total[5m]))',
  starlane_dns_reply_hits_total:
    'sum(rate(starlane_dns_reply_hits_total[5m])) / (sum(rate(starlane_dns_reply_hits_total[5m])) + sum(rate(starlane_dns_reply_misses_total[5m])))',
  starlane_dns_reply_misses_total: 'sum(rate(starlane_dns_reply_misses_total[5m]))',
  starlane_dns_cache_hits_total: 'sum by (type) (rate(starlane_dns_cache_hits_total[5m]))',
  starlane_dns_cache_misses_total: 'sum(rate(starlane_dns_cache_misses_total[5m]))',
  starlane_dns_cache_served_stale_total: 'sum(increase(starlane_dns_cache_served_stale_total[1h]))',
  starlane_dns_cache_prefetch_total: 'sum(rate(starlane_dns_cache_prefetch_total[5m]))',
  starlane_dns_cache_evictions_total: 'sum(rate(starlane_dns_cache_evictions_total[5m]))',
  starlane_dns_forward_refused_total: 'sum(rate(starlane_dns_forward_refused_total[5m]))',
  starlane_dns_forward_failures_total: 'sum(rate(starlane_dns_forward_failures_total[5m]))',
  starlane_dns_upstream_responses_total: 'sum by (to, rcode) (rate(starlane_dns_upstream_responses_total[5m]))',
  starlane_dns_upstream_failures_total: 'sum by (to) (rate(starlane_dns_upstream_failures_total[5m]))',
  starlane_dns_upstream_healthcheck_failures_total:
    'sum by (to) (increase(starlane_dns_upstream_healthcheck_failures_total[15m]))',
  starlane_dns_tcp_refused_total: 'sum(rate(starlane_dns_tcp_refused_total[5m]))',
  starlane_dns_request_duration_seconds:
    'histogram_quantile(0.99, sum by (le, zone) (rate(starlane_dns_request_duration_seconds_bucket[5m])))',
  starlane_dns_request_size_bytes:
    'histogram_quantile(0.5, sum by (le) (rate(starlane_dns_request_size_bytes_bucket[5m])))',
  starlane_dns_response_size_bytes:
    'histogram_quantile(0.99, sum by (le) (rate(starlane_dns_response_size_bytes_bucket[5m])))',
  starlane_dns_upstream_duration_seconds:
    'histogram_quantile(0.99, sum by (le, to) (rate(starlane_dns_upstream_duration_seconds_bucket[5m])))',
  starlane_health_targets: 'sum by (instance) (starlane_health_targets)',
  starlane_health_checks_in_flight: 'max(starlane_health_checks_in_flight)',
  starlane_health_check_late_seconds: 'max by (instance) (starlane_health_check_late_seconds) > 1',
  starlane_health_ejected: 'starlane_health_ejected > 0',
  starlane_health_checks_total: 'sum by (outcome) (rate(starlane_health_checks_total[5m]))',
  starlane_health_ejections_total: 'sum by (instance) (increase(starlane_health_ejections_total[1h]))',
  starlane_health_ejections_held_back_total: 'increase(starlane_health_ejections_held_back_total[1h])',
  starlane_tunnel_state: 'starlane_tunnel_state{state="lost"} == 1',
  starlane_underlay_peer_state: 'starlane_underlay_peer_state{state=~"silent|narrow"} == 1',
  starlane_underlay_round_trip_seconds: 'max by (cluster) (starlane_underlay_round_trip_seconds)',
  starlane_underlay_left_out: 'starlane_underlay_left_out > 0',
  starlane_tunnels: 'sum by (cluster) (starlane_tunnels)',
  starlane_tunnel_streams: 'sum by (cluster, gateway) (starlane_tunnel_streams)',
  starlane_tunnel_round_trip_seconds: 'max by (cluster, gateway) (starlane_tunnel_round_trip_seconds)',
  starlane_tunnel_certificate_end_seconds:
    'min by (gateway) (starlane_tunnel_certificate_end_seconds) - time() < 14 * 86400',
  starlane_gateway_sessions: 'sum by (cluster) (starlane_gateway_sessions)',
  starlane_gateway_streams: 'sum by (cluster) (starlane_gateway_streams)',
  starlane_gateway_refused_total: 'increase(starlane_gateway_refused_total[15m]) > 0',
  starlane_plugin_hook_faults_total: 'sum by (plugin, hook) (increase(starlane_plugin_hook_faults_total[1h]))',
}

export function describedMetrics(): Promise<MetricDescription[]> {
  const unused = () => {
    throw new Error('a description needs no values')
  }
  const parts = { status: unused, open: unused, dns: unused, health: unused, plugins: unused, pluginFaults: unused }
  const directory = { size: 0, services: () => [], service: () => undefined, onChange: () => () => {} }
  return createMetrics({ ...parts, directory } as unknown as Parameters<typeof createMetrics>[0]).described()
}

/** The counters that plugins of this repository create, from their sources. */
function pluginCounters(): MetricDescription[] {
  const files = globSync('plugins/{affinity,circuit-breaker,policy,session-affinity,tenancy}/**/*.ts').sort()
  return files.flatMap(file => {
    const plugin = file.split('/')[1]?.replaceAll('-', '_')
    const calls = readFileSync(file, 'utf8').matchAll(/host\.counter\('(\w+)', '([^']+)'(?:, \{ (\w+) \})?/g)
    return [...calls].map(([, name, help = '', label]) => ({
      name: `starlane_plugin_${plugin}_${name}_total`,
      help: `${help}.`,
      type: 'counter',
      labels: label === undefined ? [] : [label],
    }))
  })
}

export async function renderMetrics(): Promise<string> {
  const all = await describedMetrics()
  const own = all.filter(({ name }) => name.startsWith('starlane_'))
  const groups = [
    [
      'State',
      own.filter(({ name, type }) => type === 'gauge' && !/^starlane_(health|tunnel|gateway|underlay)/.test(name)),
    ],
    ['Tunnels', own.filter(({ name }) => /^starlane_(tunnel|gateway)/.test(name))],
    ['Underlay', own.filter(({ name }) => name.startsWith('starlane_underlay_'))],
    ['Flows', own.filter(({ name, type }) => type !== 'gauge' && !/^starlane_(dns|health|plugin)_/.test(name))],
    ['DNS', own.filter(({ name }) => name.startsWith('starlane_dns_'))],
    ['Health', own.filter(({ name }) => name.startsWith('starlane_health_'))],
    ['Plugins', [...own.filter(({ name }) => name.startsWith('starlane_plugin_')), ...pluginCounters()]],
  ] as const
  const sections = groups.map(([title, metrics]) => `## ${title}\n\n${metrics.map(sectionOf).join('\n\n')}\n`)
  const rest = all.filter(({ name }) => !name.startsWith('starlane_'))
  const lines = rest.map(({ name, type, help, labels }) => `| \`${name}\` | ${type} | ${labelText(labels)} | ${help} |`)
  return `# Metrics

Written by \`node scripts/metrics.ts\` from the registry; do not edit it.

\`/metrics\` serves them in Prometheus text format, on \`admin.listen\` and, for scrapers, on \`admin.metrics\`. Names and units follow
Prometheus: base units, \`_total\` for counters. Label values come from the configuration and from the objects of clusters, never from
clients, so their number is bounded; the counts of a service go with it. Series of a counter appear when they are first counted.
[deploy/monitoring](../deploy/monitoring/README.md) has alert rules and a dashboard. When Prometheus adds labels of its targets, set
\`honorLabels\`, since \`namespace\` and \`service\` are those of the service that a client asked for.

${sections.join('\n')}
## Process

Of Node and the process, as prom-client names them.

| metric | type | labels | meaning |
|---|---|---|---|
${lines.join('\n')}
`
}

function sectionOf({ name, type, help, labels }: MetricDescription): string {
  const example = examples[name] ?? `sum by (instance) (increase(${name}[1h]))`
  return `### ${name}\n\n${help}\n\n${type}${unitOf(name)}; labels: ${labelText(labels)}\n\n\`\`\`promql\n${example}\n\`\`\``
}

function labelText(labels: readonly string[]): string {
  return labels.map(label => `\`${label}\``).join(', ') || 'none'
}

function unitOf(name: string): string {
  if (/_seconds(_total)?$/.test(name)) return ', in seconds'
  if (/_bytes(_total)?$/.test(name)) return ', in bytes'
  return ''
}

if (import.meta.main) writeFileSync(new URL('../docs/metrics.md', import.meta.url), await renderMetrics())
