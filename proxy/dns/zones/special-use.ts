/**
 * Special-use domains (RFC 6761 and the IANA registry): names that no resolver can know. They are answered here and never
 * forwarded.
 *
 *     localhost, NAME.localhost       the loopback addresses; no other records (RFC 6761 6.3)
 *     invalid, onion, alt, local, …   NXDOMAIN (RFC 6761 6.4, 7686, 9476, 6762 22.1)
 *     resolver.arpa                   NODATA: no designated resolver (RFC 9462)
 *     reverse names                   `localhost` for 127.0.0.1 and ::1, NXDOMAIN for the rest (RFC 6303 4, 6762 22.1, 9637)
 */
import type { SpecialUseDomain } from '../../model/text/special-use.ts'
import { types } from '../message/wire.ts'
import { addressRecords, type Lookup, nodata, nxdomain, records, type ZoneQuestion } from './lookup.ts'

const loopback = ['127.0.0.1', '::1']

/** Zones of addresses that are never on a network: "this" network, loopback, link-local, documentation, broadcast. */
const reverseZones = [
  '0.in-addr.arpa',
  '127.in-addr.arpa',
  '254.169.in-addr.arpa',
  '2.0.192.in-addr.arpa',
  '100.51.198.in-addr.arpa',
  '113.0.203.in-addr.arpa',
  '255.255.255.255.in-addr.arpa',
  `${'0.'.repeat(32)}ip6.arpa`,
  `1.${'0.'.repeat(31)}ip6.arpa`,
  '8.e.f.ip6.arpa',
  '9.e.f.ip6.arpa',
  'a.e.f.ip6.arpa',
  'b.e.f.ip6.arpa',
  '8.b.d.0.1.0.0.2.ip6.arpa',
  '0.f.f.f.3.ip6.arpa',
]

const localhostNames: ReadonlySet<string> = new Set(['1.0.0.127.in-addr.arpa', `1.${'0.'.repeat(31)}ip6.arpa`])

export interface SpecialUse {
  /** The special-use zones that are answered here, by name. */
  readonly zones: ReadonlyMap<string, SpecialUseDomain>
  /** Domains with resolvers of their own; names in them are forwarded all the same. */
  readonly routes: readonly string[]
}

/** `routes` that have nothing to do with special-use domains do no harm. */
export function specialUse(domains: readonly SpecialUseDomain[], routes: readonly string[]): SpecialUse {
  const zones = domains.flatMap(domain =>
    (domain === 'reverse' ? reverseZones : [domain]).map(zone => [zone, domain] as const),
  )
  return { zones: new Map(zones), routes: routes.map(route => route.toLowerCase().replace(/^\.|\.$/g, '')) }
}

/** The special-use zone of a name that is to be answered here. */
export function specialZoneOf(
  labels: readonly string[],
  type: number,
  { zones, routes }: SpecialUse,
): { readonly origin: string; readonly domain: SpecialUseDomain } | undefined {
  for (let kept = 1; kept <= labels.length; kept++) {
    const origin = labels.slice(-kept).join('.')
    const domain = zones.get(origin)
    if (domain === undefined) continue
    // DS is in the parent zone, where validating clients find the proof that the domain is not signed (RFC 8375 4).
    if (type === types.DS && labels.length === kept && origin.endsWith('.arpa')) return undefined
    return hasRoute(labels, origin, routes) ? undefined : { origin, domain }
  }
  return undefined
}

/** Whether the configuration has resolvers for a part of the special-use zone that the name is in. */
function hasRoute(labels: readonly string[], origin: string, routes: readonly string[]): boolean {
  const name = `.${labels.join('.')}`
  return routes.some(route => `.${route}`.endsWith(`.${origin}`) && name.endsWith(`.${route}`))
}

export function findSpecial(asked: ZoneQuestion, domain: SpecialUseDomain): Lookup {
  if (domain === 'localhost') return localhost(asked)
  if (domain === 'reverse') return reverse(asked)
  if (domain === 'resolver.arpa') return nodata
  // The RFCs want NXDOMAIN for the top-level domains themselves; those in `arpa` exist.
  return domain.endsWith('.arpa') && asked.labels.length === 0 ? nodata : nxdomain
}

/** The loopback addresses; nothing else exists at these names. */
export function localhost(asked: ZoneQuestion): Lookup {
  return addressRecords(asked, loopback)
}

function reverse(asked: ZoneQuestion): Lookup {
  if (!localhostNames.has(asked.name)) return asked.labels.length === 0 ? nodata : nxdomain
  if (asked.type !== types.PTR) return nodata
  return records([{ name: asked.name, ttl: asked.ttl, type: types.PTR, target: 'localhost' }])
}
