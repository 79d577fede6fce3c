import { Histogram, type Registry } from 'prom-client'
import { counted, type Labels, type Sample } from './counted.ts'

/** What the DNS responder counts, read when somebody asks. The shape is the responder's own, told here to stay apart from it. */
export interface DnsNumbers {
  readonly requests: readonly Counted<'zone' | 'transport' | 'type', { readonly family: 4 | 6 }>[]
  readonly responses: readonly Counted<'zone' | 'rcode'>[]
  readonly zones: readonly {
    readonly zone: string
    readonly duration: Distribution
    readonly requestBytes: Distribution
    readonly responseBytes: Distribution
  }[]
  readonly dnssecRequests: number
  readonly dropped: number
  readonly limited: number
  readonly replies: { readonly entries: number; readonly hits: number; readonly misses: number }
  readonly cache: {
    readonly entries: number
    readonly bytes: number
    readonly hits: number
    readonly denialHits: number
    readonly misses: number
    readonly stale: number
    readonly prefetches: number
    readonly evictions: number
  }
  readonly forward: { readonly inFlight: number; readonly refused: number; readonly failures: number }
  readonly upstreams: readonly {
    readonly name: string
    readonly state: string
    readonly requests: number
    readonly failures: number
    readonly probeFailures: number
    readonly duration: Distribution
    readonly rcodes: Readonly<Record<string, number>>
  }[]
  readonly tcp: { readonly connections: number; readonly refused: number }
}

type Counted<K extends string, More = unknown> = Readonly<Record<K, string>> & { readonly count: number } & More

/** Counts of values up to each bound, and behind them those beyond all. */
export interface Distribution {
  readonly bounds: readonly number[]
  readonly counts: readonly number[]
  readonly sum: number
}

/** What CoreDNS counts, under our names. */
export function addDnsMetrics(registry: Registry, numbers: () => DnsNumbers): void {
  const counter = (name: string, help: string, labelNames: string[], samples: (n: DnsNumbers) => Iterable<Sample>) =>
    counted(registry, { name: `starlane_dns_${name}_total`, help, labelNames }, () => samples(numbers()))
  const histogram = (name: string, help: string, labelName: string, rows: (n: DnsNumbers) => Iterable<Row>) =>
    registry.registerMetric(new ReadHistogram(`starlane_dns_${name}`, help, labelName, () => rows(numbers())))

  counter('requests', 'Questions by zone, transport, family and type.', ['zone', 'proto', 'family', 'type'], n =>
    n.requests.map(r => [{ zone: r.zone, proto: r.transport, family: String(r.family), type: r.type }, r.count]),
  )
  counter('responses', 'Answers by zone and code.', ['zone', 'rcode'], n =>
    n.responses.map(({ zone, rcode, count }) => [{ zone, rcode }, count]),
  )
  counter('do_requests', 'Questions with the DO bit.', [], n => [[{}, n.dnssecRequests]])
  counter('dropped', 'Messages that got no answer: replies, scraps, clients over their rate.', [], n => [
    [{}, n.dropped],
  ])
  counter('limited', 'Questions of clients over their rate.', [], n => [[{}, n.limited]])
  counter('reply_hits', 'Questions about our zones that an encoded answer served.', [], n => [[{}, n.replies.hits]])
  counter('reply_misses', 'Questions about our zones without an encoded answer.', [], n => [[{}, n.replies.misses]])
  counter('cache_hits', 'Questions for other names that a remembered answer served.', ['type'], n => [
    [{ type: 'success' }, n.cache.hits],
    [{ type: 'denial' }, n.cache.denialHits],
  ])
  counter('cache_misses', 'Questions for other names without a remembered answer.', [], n => [[{}, n.cache.misses]])
  counter('cache_served_stale', 'Answers past their time, since no upstream answered.', [], n => [[{}, n.cache.stale]])
  counter('cache_prefetch', 'Answers asked for again before their time was over.', [], n => [[{}, n.cache.prefetches]])
  counter('cache_evictions', 'Answers that made room for others.', [], n => [[{}, n.cache.evictions]])
  counter('forward_refused', 'Questions refused since too many were on their way.', [], n => [[{}, n.forward.refused]])
  counter('forward_failures', 'Questions that no upstream answered.', [], n => [[{}, n.forward.failures]])
  counter('upstream_responses', 'Answers of upstreams.', ['to', 'rcode'], n =>
    n.upstreams.flatMap(({ name, rcodes }) =>
      Object.entries(rcodes).map(([rcode, count]): Sample => [{ to: name, rcode }, count]),
    ),
  )
  counter('upstream_failures', 'Questions that an upstream did not answer.', ['to'], n =>
    n.upstreams.map(({ name, failures }): Sample => [{ to: name }, failures]),
  )
  counter('upstream_healthcheck_failures', 'Probes that an upstream did not answer.', ['to'], n =>
    n.upstreams.map(({ name, probeFailures }): Sample => [{ to: name }, probeFailures]),
  )
  counter('tcp_refused', 'TCP connections turned away.', [], n => [[{}, n.tcp.refused]])

  histogram('request_duration_seconds', 'Time from a question to its answer.', 'zone', n =>
    n.zones.map(({ zone, duration }): Row => [zone, duration]),
  )
  histogram('request_size_bytes', 'Size of questions.', 'zone', n =>
    n.zones.map(({ zone, requestBytes }): Row => [zone, requestBytes]),
  )
  histogram('response_size_bytes', 'Size of answers.', 'zone', n =>
    n.zones.map(({ zone, responseBytes }): Row => [zone, responseBytes]),
  )
  histogram('upstream_duration_seconds', 'Time that an upstream took for its answer.', 'to', n =>
    n.upstreams.map(({ name, duration }): Row => [name, duration]),
  )
}

type Row = readonly [label: string, values: Distribution]

/** A histogram that was counted elsewhere: prom-client's own, but its values are read, not observed. */
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

  /** What the registry asks for, and what `get` builds upon; the types of prom-client do not tell of it. */
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
