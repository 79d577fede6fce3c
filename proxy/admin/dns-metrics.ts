import { Histogram, type Registry } from 'prom-client'
import { counted, type Sample, Tally } from './counted.ts'

/** Hears what becomes of DNS questions. Types and codes are the numbers of the wire. */
export interface DnsObserver {
  query(type: number, rcode: number, transport: 'udp' | 'tcp', seconds: number): void
  /** A question for another name was looked up among the remembered answers. */
  cache(hit: boolean): void
  /** An upstream answered, or with undefined: it did not. `upstream` is its address as configured. */
  forward(upstream: string, rcode: number | undefined, seconds: number): void
}

const types: Readonly<Record<number, string>> = {
  1: 'A',
  2: 'NS',
  5: 'CNAME',
  6: 'SOA',
  12: 'PTR',
  15: 'MX',
  16: 'TXT',
  28: 'AAAA',
  33: 'SRV',
  35: 'NAPTR',
  43: 'DS',
  48: 'DNSKEY',
  64: 'SVCB',
  65: 'HTTPS',
  255: 'ANY',
  257: 'CAA',
}

const rcodes: Readonly<Record<number, string>> = {
  0: 'NOERROR',
  1: 'FORMERR',
  2: 'SERVFAIL',
  3: 'NXDOMAIN',
  4: 'NOTIMP',
  5: 'REFUSED',
  16: 'BADVERS',
}

const seconds = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5]

/** More upstreams than a configuration names; beyond them somebody counts what he should not. */
const mostUpstreams = 64

/** What CoreDNS counts, under our names; whatever types and codes clients and upstreams make up are `other`. */
export class DnsMetrics implements DnsObserver {
  readonly #requests = { udp: new Tally<string>(64, 'other'), tcp: new Tally<string>(64, 'other') }
  readonly #responses = new Tally<string>(64, 'other')
  readonly #forwards = new Map<string, Tally<string>>()
  readonly #durations: Histogram
  readonly #upstreamDurations: Histogram<'upstream'>
  #hits = 0
  #misses = 0

  constructor(registry: Registry) {
    const add = (name: string, help: string, labelNames: string[], samples: () => Iterable<Sample>) =>
      counted(registry, { name: `starlane_dns_${name}_total`, help, labelNames }, samples)
    add('requests', 'DNS questions.', ['type', 'transport'], () => this.#requestSamples())
    add('responses', 'DNS answers.', ['rcode'], () => samplesOf('rcode', this.#responses))
    add('cache_hits', 'Questions for other names that a remembered answer served.', [], () => [[{}, this.#hits]])
    add('cache_misses', 'Questions for other names without a remembered answer.', [], () => [[{}, this.#misses]])
    add('forwards', 'Questions put to an upstream; rcode "none" when it did not answer.', ['upstream', 'rcode'], () =>
      this.#forwardSamples(),
    )
    this.#durations = new Histogram({
      name: 'starlane_dns_request_duration_seconds',
      help: 'Time from a question to its answer.',
      buckets: seconds,
      registers: [registry],
    })
    this.#upstreamDurations = new Histogram({
      name: 'starlane_dns_forward_duration_seconds',
      help: 'Time that an upstream took for its answer.',
      labelNames: ['upstream'],
      buckets: seconds,
      registers: [registry],
    })
  }

  query(type: number, rcode: number, transport: 'udp' | 'tcp', seconds: number): void {
    this.#requests[transport].add(types[type] ?? 'other')
    this.#responses.add(rcodes[rcode] ?? 'other')
    this.#durations.observe(seconds)
  }

  cache(hit: boolean): void {
    if (hit) this.#hits++
    else this.#misses++
  }

  forward(upstream: string, rcode: number | undefined, seconds: number): void {
    const known = this.#forwards.has(upstream) || this.#forwards.size < mostUpstreams ? upstream : 'other'
    const codes = this.#forwards.get(known) ?? new Tally<string>(64, 'other')
    this.#forwards.set(known, codes)
    codes.add(rcode === undefined ? 'none' : (rcodes[rcode] ?? 'other'))
    if (rcode !== undefined) this.#upstreamDurations.observe({ upstream: known }, seconds)
  }

  *#requestSamples(): Iterable<Sample> {
    for (const [transport, byType] of Object.entries(this.#requests)) {
      for (const [type, count] of byType) yield [{ type, transport }, count]
    }
  }

  *#forwardSamples(): Iterable<Sample> {
    for (const [upstream, codes] of this.#forwards) {
      for (const [rcode, count] of codes) yield [{ upstream, rcode }, count]
    }
  }
}

function* samplesOf(name: string, tally: Tally<string>): Iterable<Sample> {
  for (const [key, count] of tally) yield [{ [name]: key }, count]
}
