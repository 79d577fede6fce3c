/** The DNS counters on the metrics page: what CoreDNS counts, under the prefix `starlane_dns_`. */
import { Histogram, type Registry } from 'prom-client'
import type { Distribution, DnsStats } from '../../model/stats/dns.ts'
import { counted, type Labels, type Sample } from './counted.ts'

export function addDnsMetrics(registry: Registry, stats: () => DnsStats): void {
  const counter = (name: string, help: string, labelNames: string[], samples: (stats: DnsStats) => Iterable<Sample>) =>
    counted(registry, { name: `starlane_dns_${name}_total`, help, labelNames }, () => samples(stats()))
  const histogram = (name: string, help: string, labelName: string, rows: (stats: DnsStats) => Iterable<Row>) =>
    registry.registerMetric(new ReadHistogram(`starlane_dns_${name}`, help, labelName, () => rows(stats())))

  counter('requests', 'Queries by zone, transport, family and type.', ['zone', 'proto', 'family', 'type'], stats =>
    stats.requests.map(r => [{ zone: r.zone, proto: r.transport, family: String(r.family), type: r.type }, r.count]),
  )
  counter('responses', 'Replies by zone and rcode.', ['zone', 'rcode'], stats =>
    stats.responses.map(({ zone, rcode, count }) => [{ zone, rcode }, count]),
  )
  counter('do_requests', 'Queries with the DO bit.', [], stats => [[{}, stats.dnssecRequests]])
  counter(
    'dropped',
    'Messages without a reply: replies sent to us, fragments of messages, clients over their rate.',
    [],
    stats => [[{}, stats.dropped]],
  )
  counter('limited', 'Queries of clients over their rate.', [], stats => [[{}, stats.limited]])
  counter('reply_hits', 'Queries for our zones answered from the answer cache.', [], stats => [
    [{}, stats.answerCache.hits],
  ])
  counter('reply_misses', 'Queries that the answer cache did not know.', [], stats => [[{}, stats.answerCache.misses]])
  counter('cache_hits', 'Queries for other names answered from the cache.', ['type'], stats => [
    [{ type: 'success' }, stats.cache.hits],
    [{ type: 'denial' }, stats.cache.denialHits],
  ])
  counter('cache_misses', 'Queries for other names that the cache could not answer.', [], stats => [
    [{}, stats.cache.misses],
  ])
  counter('cache_served_stale', 'Expired answers served because no upstream answered.', [], stats => [
    [{}, stats.cache.stale],
  ])
  counter('cache_prefetch', 'Answers refreshed before their TTL ended.', [], stats => [[{}, stats.cache.prefetches]])
  counter('cache_evictions', 'Cached answers evicted for others.', [], stats => [[{}, stats.cache.evictions]])
  counter('forward_refused', 'Queries refused because too many were in flight.', [], stats => [
    [{}, stats.forward.refused],
  ])
  counter('forward_failures', 'Queries that no upstream answered.', [], stats => [[{}, stats.forward.failures]])
  counter('upstream_responses', 'Replies of upstreams.', ['to', 'rcode'], stats =>
    stats.upstreams.flatMap(({ name, rcodes }) =>
      Object.entries(rcodes).map(([rcode, count]): Sample => [{ to: name, rcode }, count]),
    ),
  )
  counter('upstream_failures', 'Queries that an upstream did not answer.', ['to'], stats =>
    stats.upstreams.map(({ name, failures }): Sample => [{ to: name }, failures]),
  )
  counter('upstream_healthcheck_failures', 'Probes that an upstream did not answer.', ['to'], stats =>
    stats.upstreams.map(({ name, probeFailures }): Sample => [{ to: name }, probeFailures]),
  )
  counter('tcp_refused', 'TCP connections refused.', [], stats => [[{}, stats.tcp.refused]])

  histogram('request_duration_seconds', 'Time from query to reply.', 'zone', stats =>
    stats.zones.map(({ zone, duration }): Row => [zone, duration]),
  )
  histogram('request_size_bytes', 'Size of queries.', 'zone', stats =>
    stats.zones.map(({ zone, requestBytes }): Row => [zone, requestBytes]),
  )
  histogram('response_size_bytes', 'Size of replies.', 'zone', stats =>
    stats.zones.map(({ zone, responseBytes }): Row => [zone, responseBytes]),
  )
  histogram('upstream_duration_seconds', 'Time from query to reply of an upstream.', 'to', stats =>
    stats.upstreams.map(({ name, duration }): Row => [name, duration]),
  )
}

type Row = readonly [label: string, values: Distribution]

/** A prom-client histogram whose values are read from the responder instead of observed. */
class ReadHistogram extends Histogram<string> {
  readonly #name: string
  readonly #help: string
  readonly #label: string
  readonly #rows: () => Iterable<Row>

  constructor(name: string, help: string, label: string, rows: () => Iterable<Row>) {
    super({ name, help, labelNames: [label], registers: [] })
    this.#name = name
    this.#help = help
    this.#label = label
    this.#rows = rows
  }

  /** Called by the registry and by `get`; missing in prom-client's types. */
  async getForPromString() {
    const values = [...this.#rows()].flatMap(([label, values]) => this.#lines({ [this.#label]: label }, values))
    return { name: this.#name, help: this.#help, type: 'histogram', aggregator: 'sum', values }
  }

  #lines(labels: Labels, { bounds, counts, sum }: Distribution) {
    let below = 0
    const buckets = counts.map((count, i) => {
      below += count
      return { metricName: `${this.#name}_bucket`, labels: { ...labels, le: bounds[i] ?? '+Inf' }, value: below }
    })
    return [
      ...buckets,
      { metricName: `${this.#name}_sum`, labels, value: sum },
      { metricName: `${this.#name}_count`, labels, value: below },
    ]
  }
}
