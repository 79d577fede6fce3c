/**
 * Answers a question from our own zones: finds the zone, looks the name up, follows aliases (RFC 1034 3.6.2), completes short
 * names, and adds the SOA to denials (RFC 2308). A pure function of question and view.
 */
import type { Cidr } from '../../model/address.ts'
import { isPlain } from '../message/query.ts'
import { type AuthorityRecord, type DnsRecord, minimalAny } from '../message/record.ts'
import { type ExtendedError, extendedErrors, rcodes, types } from '../message/wire.ts'
import { type ClusterZone, findInCluster } from './cluster.ts'
import { type ClustersetZone, findInClusterset } from './clusterset.ts'
import { type Lookup, nxdomain, type ZoneQuestion } from './lookup.ts'
import { findInReverse, reverseOrigin } from './reverse.ts'
import { findSpecial, type SpecialUse, specialZoneOf } from './special-use.ts'
import type { View } from './view.ts'

/** The zones that this responder is authoritative for. */
export interface Zones {
  readonly cluster: ClusterZone
  readonly clusterset: ClustersetZone | undefined
  /** Networks whose missing reverse names get NXDOMAIN. */
  readonly networks: readonly Cidr[]
  readonly ttlSeconds: number
  /** The special-use domains that are answered here. */
  readonly special: SpecialUse
  /** The namespace of single-label names; undefined when short names are not completed. */
  readonly searchNamespace: string | undefined
}

export interface Answer {
  /** For metrics and explanations: `cluster.local`, `in-addr.arpa`. */
  readonly zone: string
  readonly rcode: number
  readonly answers: readonly DnsRecord[]
  readonly authority: readonly DnsRecord[]
  readonly additional: readonly DnsRecord[]
  readonly extended?: ExtendedError
  /** The aliases in `answers` lead to this name, which is in none of our zones. */
  readonly externalTarget?: string
}

const maxAliases = 10

/** Undefined: the name is in none of our zones. `labels` are lower case. */
export function answer(labels: readonly string[], type: number, view: View, zones: Zones): Answer | undefined {
  const ours = matchZone(labels, view, zones) ?? matchShortName(labels, type, view, zones)
  const matched = ours ?? matchSpecialUse(labels, type, zones)
  if (!matched) return undefined
  // No name of ours has such octets, and as text a dot inside a label would read as another name.
  if (!isPlain(labels)) return conclude({ matched, owner: '', aliases: [] }, nxdomain, type, view, zones)
  if (ours && !view.synced) return failure(matched.zone, extendedErrors.notReady, 'first sync is not done')
  return follow(matched, labels, type, view, zones)
}

/** A zone of ours that contains the name, with its lookup function. */
interface MatchedZone {
  readonly zone: string
  /** The owner of the SOA. */
  readonly origin: string
  find(asked: ZoneQuestion): Lookup
}

function follow(start: MatchedZone, labels: readonly string[], type: number, view: View, zones: Zones): Answer {
  const aliases: DnsRecord[] = []
  const ttl = zones.ttlSeconds
  let matched = start
  let name = labels
  for (;;) {
    const owner = name.join('.')
    const lookup = matched.find({ name: owner, labels: below(name, matched.origin), type, ttl })
    if (lookup.kind !== 'alias') return conclude({ matched, owner, aliases }, lookup, type, view, zones)
    aliases.push({ name: owner, ttl, type: types.CNAME, target: lookup.target })
    const soFar = { zone: matched.zone, rcode: rcodes.NOERROR, answers: aliases, ...noOthers }
    if (type === types.CNAME || type === types.ANY) return soFar
    if (aliases.length > maxAliases) return failure(matched.zone, 0, 'too many aliases, or a loop of them')
    name = lookup.target.split('.')
    const next = matchZone(name, view, zones) ?? matchSpecialUse(name, type, zones)
    if (!next) return { ...soFar, externalTarget: lookup.target }
    matched = next
  }
}

/** The last name of a chain of aliases, and the aliases that led to it. */
interface AliasEnd {
  readonly matched: MatchedZone
  readonly owner: string
  readonly aliases: readonly DnsRecord[]
}

function conclude(
  { matched, owner, aliases }: AliasEnd,
  lookup: Exclude<Lookup, { kind: 'alias' }>,
  type: number,
  view: View,
  zones: Zones,
): Answer {
  const { zone } = matched
  if (lookup.kind === 'records') {
    return {
      zone,
      rcode: rcodes.NOERROR,
      answers: [...aliases, ...lookup.answers],
      authority: [],
      additional: lookup.additional,
    }
  }
  const rcode = lookup.kind === 'nxdomain' ? rcodes.NXDOMAIN : rcodes.NOERROR
  if (rcode === rcodes.NOERROR && type === types.ANY) {
    return { zone, rcode, answers: [...aliases, minimalAny(owner, zones.ttlSeconds)], ...noOthers }
  }
  if (rcode === rcodes.NOERROR && type === types.SOA && owner === matched.origin) {
    return { zone, rcode, answers: [...aliases, startOfAuthority(owner, view.newestSerial(), zones)], ...noOthers }
  }
  const authority = [startOfAuthority(matched.origin, view.serial, zones)]
  return { zone, rcode, answers: aliases, authority, additional: [] }
}

const noOthers = { authority: [], additional: [] } as const

function startOfAuthority(origin: string, serial: number, zones: Zones): AuthorityRecord {
  const home = origin === zones.clusterset?.origin ? origin : zones.cluster.origin
  return {
    name: origin,
    ttl: Math.min(zones.ttlSeconds, 300),
    type: types.SOA,
    primary: `ns.dns.${home}`,
    admin: `hostmaster.${home}`,
    serial,
    minimum: zones.ttlSeconds,
  }
}

function failure(zone: string, code: number, text: string): Answer {
  return { zone, rcode: rcodes.SERVFAIL, answers: [], ...noOthers, extended: { code, text } }
}

function matchZone(labels: readonly string[], view: View, zones: Zones): MatchedZone | undefined {
  const { cluster, clusterset } = zones
  if (clusterset && isWithin(labels, clusterset.origin)) {
    return {
      zone: clusterset.origin,
      origin: clusterset.origin,
      find: asked => findInClusterset(asked, clusterset, view),
    }
  }
  if (isWithin(labels, cluster.origin)) {
    return { zone: cluster.origin, origin: cluster.origin, find: asked => findInCluster(asked, cluster, view) }
  }
  if (labels.at(-1) !== 'arpa') return undefined
  const reverse = reverseOrigin(labels, zones.networks, view)
  const zone = { cluster: cluster.origin, clusterset: clusterset?.origin, networks: zones.networks }
  return (
    reverse && {
      zone: labels.slice(-2).join('.'),
      origin: reverse.origin,
      find: asked => findInReverse(asked, reverse.address, zone, view),
    }
  )
}

/**
 * For a short name from a client without a search path: completes it as a pod's `resolv.conf` would. If the full name
 * exists, the zone has one alias, to that name.
 */
function matchShortName(labels: readonly string[], type: number, view: View, zones: Zones): MatchedZone | undefined {
  const { cluster, searchNamespace } = zones
  if (searchNamespace === undefined || labels.length === 0 || labels.length > 4 || !isPlain(labels)) return undefined
  // Programs rely on `localhost` being this machine; no service may take the name.
  if (labels.at(-1) === 'localhost' && cluster.localhost) return undefined
  // Until the first sync any single label may be a service; two labels are more likely a public name.
  if (!view.synced && labels.length > 1) return undefined
  for (const suffix of [[searchNamespace, 'svc'], ['svc'], []]) {
    const full = [...labels, ...suffix]
    const known = [type, types.A, types.AAAA, types.SRV].some(wanted => {
      const { kind } = findInCluster({ name: '', labels: full, type: wanted, ttl: 0 }, cluster, view)
      return kind === 'records' || kind === 'alias'
    })
    if (!known && view.synced) continue
    const target = `${full.join('.')}.${cluster.origin}`
    return { zone: cluster.origin, origin: '', find: () => ({ kind: 'alias', target }) }
  }
  return undefined
}

function matchSpecialUse(labels: readonly string[], type: number, { special }: Zones): MatchedZone | undefined {
  const found = specialZoneOf(labels, type, special)
  if (!found) return undefined
  const { origin, domain } = found
  return {
    zone: domain === 'reverse' ? labels.slice(-2).join('.') : origin,
    origin,
    find: asked => findSpecial(asked, domain),
  }
}

export function isWithin(labels: readonly string[], origin: string): boolean {
  const parts = origin.split('.')
  return parts.length <= labels.length && parts.every((part, i) => labels[labels.length - parts.length + i] === part)
}

/** The labels below a zone's origin. */
function below(labels: readonly string[], origin: string): readonly string[] {
  return origin === '' ? labels : labels.slice(0, labels.length - origin.split('.').length)
}
