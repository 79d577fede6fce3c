/** The fields of `dns`: what the responder answers itself, whom it asks for the rest, and what it remembers of that. */
import { durationText } from '../model/text/duration.ts'
import {
  boolean,
  checked,
  cidr,
  duration,
  endpoint,
  type Field,
  type Fields,
  integer,
  list,
  oneOf,
  optional,
  table,
} from './fields.ts'
import { domain, type Resolve, routes, size, upstream, withinBudget } from './kinds.ts'

// Whoever asked has given up by then.
const most9s = { min: 1, max: 9000 }
const dayMs = 86_400_000

export function dnsFields(resolve: Resolve) {
  return {
    listen: endpoint('Where the responder listens, UDP and TCP. Port 0 lets the kernel choose.', '127.0.0.1:5353'),
    domain: domain("The cluster's domain: `NAME.NAMESPACE.svc.DOMAIN`.", 'cluster.local'),
    clusterset: domain(
      'The domain of the whole mesh (Multi-Cluster Services API): `NAME.NAMESPACE.svc.CLUSTERSET`.',
      'clusterset.local',
    ),
    ttl: seconds('How long clients may remember an answer, in whole seconds. Failover does not wait for it.', '5s'),
    pods: oneOf(
      'Names of pods by address, `1-2-3-4.NAMESPACE.pod`: none, any address spelled so, or those of Pods and endpoints.',
      ['disabled', 'insecure', 'verified'],
      'disabled',
    ),
    networks: list(
      'Networks of the clusters: reverse names in them that nothing has are denied here, others go upstream.',
      cidr('A network.'),
      [],
    ),
    hideEmpty: boolean('Whether services without a ready backend in any cluster have no name.', false),
    search: boolean('Whether short names such as `rebel-base` or `rebel-base.default` are answered too.', true),
    autopath: boolean(
      "Whether the first step of a pod's search path gets what the last would, so that outside names cost one query.",
      false,
    ),
    upstream: list(
      'Who answers for all other names: addresses, or files like resolv.conf. With [] other names are refused.',
      upstream('A resolver.', resolve),
      ['/etc/resolv.conf'],
    ),
    routes: routes('Other resolvers for a domain and all below it; the longest domain that fits wins.', resolve),
    forward: withinBudget(table('How the upstream resolvers are asked.', forwardFields)),
    cache: table('What is remembered of what they said. Our own answers never age.', cacheFields),
    rate: table('How many UDP replies a client gets: an IPv4 address, or an IPv6 /64.', rateFields),
    queryLog: optional(table('Queries to write to the log; with neither key, all of them.', queryLogFields)),
  } satisfies Fields
}

const forwardFields = {
  policy: oneOf('Which resolver of a list is asked first.', ['sequential', 'random', 'round-robin'], 'sequential'),
  timeout: duration('How long one resolver may take before the next is asked.', '1500ms', most9s),
  budget: duration('How long all tries together may take; clients give up after 5s.', '4500ms', most9s),
  concurrent: integer(
    'Questions on their way at a time; beyond it clients get SERVFAIL.',
    { min: 1, max: 20_000 },
    1000,
  ),
  perClient: integer('Of them those of one client address.', { min: 1, max: 20_000 }, 250),
} satisfies Fields

const cacheFields = {
  size: size('How much memory it may take.', '16MiB', { min: 64 << 10, max: 4 * 2 ** 30 }),
  maxTtl: seconds('How long an answer is believed at most, in whole seconds. 0 remembers none.', '1h', dayMs),
  maxNegativeTtl: seconds('How long a denial is believed at most, in whole seconds. 0 remembers none.', '5m', dayMs),
  serveStale: duration('How long past its time an answer still serves while no resolver answers. 0: never.', '1h'),
  prefetch: boolean('Whether names in use are asked for again shortly before their time is over.', true),
} satisfies Fields

const rateFields = {
  perSecond: integer('In the long run. 0 sets no limit.', { min: 0, max: 1_000_000 }, 0),
  burst: optional(
    integer("How many a silent client may save up; without it ten seconds' worth.", { min: 1, max: 10_000_000 }),
  ),
  slip: integer(
    'Of the replies over the limit each so-many-th says "come by TCP", the others are dropped. 0 drops all.',
    { min: 0, max: 100 },
    2,
  ),
} satisfies Fields

const queryLogFields = {
  clients: optional(some(list('Those of clients in these networks.', cidr('A network.')))),
  names: optional(some(list('Those for these domains and all below them.', domain('A domain.')))),
} satisfies Fields

/** All that DNS can say: a duration of whole seconds. */
function seconds(help: string, fallback: string, max = 3_600_000): Field<number> {
  return checked(duration(help, fallback, { max }), ms =>
    ms % 1000 === 0 ? undefined : `${durationText(ms)} is no whole number of seconds, which is all that DNS knows`,
  )
}

function some<T>(entries: Field<readonly T[]>): Field<readonly T[]> {
  return checked(entries, given =>
    given.length > 0 ? undefined : 'is empty and would log nothing; leave it out for all',
  )
}
