/** The fields of the `dns` section: own zones, forwarding, cache, rate limit and query log. */

import { durationText } from '../model/text/duration.ts'
import { defaultSpecialUse, specialUseDomains } from '../model/text/special-use.ts'
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

// Clients have given up by then.
const most9s = { min: 1, max: 9000 }
const dayMs = 86_400_000

export function dnsFields(resolve: Resolve) {
  return {
    listen: endpoint('The address to listen on, UDP and TCP. With port 0 the kernel chooses a port.', '127.0.0.1:5353'),
    domain: domain("The cluster's domain: `NAME.NAMESPACE.svc.DOMAIN`.", 'cluster.local'),
    clusterset: domain(
      'The domain of the whole mesh (Multi-Cluster Services API): `NAME.NAMESPACE.svc.CLUSTERSET`.',
      'clusterset.local',
    ),
    ttl: seconds('The TTL of answers, in whole seconds. Failover does not wait for it.', '5s'),
    pods: oneOf(
      'Names of pods by address, `1-2-3-4.NAMESPACE.pod`: `disabled` answers none, `insecure` any address, `verified` those of Pods and endpoints.',
      ['disabled', 'insecure', 'verified'],
      'disabled',
    ),
    networks: list(
      'The networks of the clusters. Unknown reverse names in them are answered with NXDOMAIN, all others are forwarded.',
      cidr('A network.'),
      [],
    ),
    hideEmpty: boolean('Whether a service without a ready backend in any cluster is answered with NXDOMAIN.', false),
    search: boolean('Whether short names such as `rebel-base` and `rebel-base.default` are answered too.', true),
    autopath: boolean(
      'Whether the search path of a pod is followed on the server, so that an external name takes one query.',
      false,
    ),
    specialUse: list(
      'Special-use domains that are answered here and never forwarded (RFC 6761): `localhost` with the loopback addresses, the others with NXDOMAIN; `reverse` are the reverse names of addresses that no network has. Leave one out to forward it, or give it resolvers in `routes`. Only `test` is not in the default.',
      oneOf('A domain.', specialUseDomains),
      defaultSpecialUse,
    ),
    upstream: list(
      'The resolvers for all other names: addresses, or files like resolv.conf. With [] other names are refused.',
      upstream('A resolver.', resolve),
      ['/etc/resolv.conf'],
    ),
    routes: routes('Other resolvers for a domain and all names below it. The longest matching domain wins.', resolve),
    allow: optional(
      list(
        'The clients that are answered; others get REFUSED. By default all where `listen` is a loopback address, else private networks and `networks`.',
        cidr('A network.'),
      ),
    ),
    trusted: list(
      'Clients that ask for many others, such as CoreDNS: no limit per client applies to them.',
      cidr('A network.'),
      [],
    ),
    forward: withinBudget(table('How queries are forwarded to the resolvers.', forwardFields)),
    cache: table(
      'The cache of answers from resolvers. Answers about services are not cached: they are always current.',
      cacheFields,
    ),
    rate: table('A rate limit of UDP replies per client, an IPv4 address or an IPv6 /64.', rateFields),
    queryLog: optional(table('Log queries. Without a key below, all of them.', queryLogFields)),
  } satisfies Fields
}

const forwardFields = {
  policy: oneOf('Which resolver of a list is asked first.', ['sequential', 'random', 'round-robin'], 'sequential'),
  timeout: duration('The timeout of one resolver; then the next one is asked.', '1500ms', most9s),
  budget: duration('The timeout of all attempts together. Clients give up after 5s.', '4500ms', most9s),
  concurrent: integer(
    'The maximum number of forwarded queries in flight; further ones get SERVFAIL.',
    { min: 1, max: 20_000 },
    1000,
  ),
  perClient: optional(
    integer(
      'The maximum number of them for one client address. By default a lone client may use most of `concurrent`, and an equal share once that is nearly reached.',
      { min: 1, max: 20_000 },
    ),
  ),
  randomCase: oneOf(
    'Whether the letters of names are sent in random case, which a forger of replies has to guess (0x20). `auto`: to all resolvers but those on loopback addresses, whose replies cannot be forged from outside.',
    ['auto', 'always', 'never'],
    'auto',
  ),
} satisfies Fields

const cacheFields = {
  size: size('The maximum memory of the cache.', '16MiB', { min: 64 << 10, max: 4 * 2 ** 30 }),
  maxTtl: seconds('The maximum time to cache an answer, in whole seconds. 0 caches none.', '1h', dayMs),
  maxNegativeTtl: seconds('The maximum time to cache a negative answer, in whole seconds. 0 caches none.', '5m', dayMs),
  serveStale: duration('How long an expired answer may be served while no resolver answers. 0 disables it.', '1h'),
  prefetch: boolean('Whether names in use are refreshed shortly before they expire.', true),
} satisfies Fields

const rateFields = {
  perSecond: optional(
    integer(
      'The average number of replies per second; 0 sets no limit. By default 1000, and 0 where `listen` is a loopback address.',
      { min: 0, max: 1_000_000 },
    ),
  ),
  burst: optional(integer('The maximum burst of replies. By default twice `perSecond`.', { min: 1, max: 10_000_000 })),
  slip: integer(
    'One in this many replies over the limit is sent truncated, so that the client retries over TCP; the others are dropped. 0 drops all.',
    { min: 0, max: 100 },
    2,
  ),
} satisfies Fields

const queryLogFields = {
  clients: optional(some(list('Only those of clients in these networks.', cidr('A network.')))),
  names: optional(some(list('Only those for these domains and all names below them.', domain('A domain.')))),
} satisfies Fields

/** A TTL: a duration of whole seconds. */
function seconds(help: string, fallback: string, max = 3_600_000): Field<number> {
  return checked(duration(help, fallback, { max }), ms =>
    ms % 1000 === 0 ? undefined : `${durationText(ms)} is not a whole number of seconds; a TTL has no fractions`,
  )
}

function some<T>(entries: Field<readonly T[]>): Field<readonly T[]> {
  return checked(entries, given =>
    given.length > 0 ? undefined : 'is empty and would log nothing; leave it out to log all',
  )
}
