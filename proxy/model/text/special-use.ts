/** The special-use domains that DNS can answer instead of forwarding them (`dns.specialUse`); the rules are in `proxy/dns/zones/special-use.ts`. */

export const specialUseDomains = [
  'localhost',
  'invalid',
  'onion',
  'local',
  'alt',
  'test',
  'home.arpa',
  'service.arpa',
  'resolver.arpa',
  'reverse',
] as const

export type SpecialUseDomain = (typeof specialUseDomains)[number]

/** All but `test`, whose names a private network may define (RFC 6761 6.2): the resolver of that network is the one configured. */
export const defaultSpecialUse: readonly SpecialUseDomain[] = specialUseDomains.filter(domain => domain !== 'test')
