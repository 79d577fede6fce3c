/**
 * A question to an answer, as far as our own zones know it: pure, and the place where findings get what the protocol
 * adds to them: SOA for denials (RFC 2308), aliases followed (RFC 1034 3.6.2), short names completed.
 */
import type { Cidr } from '../../model/address.ts'
import { isPlain } from '../message/query.ts'
import { type AuthorityRecord, type DnsRecord, minimalAny } from '../message/record.ts'
import { type ExtendedError, extendedErrors, rcodes, types } from '../message/wire.ts'
import { type ClusterZone, findInCluster } from './cluster.ts'
import { type ClustersetZone, findInClusterset } from './clusterset.ts'
import { type Ask, type Finding, nxdomain } from './lookup.ts'
import { findInReverse, reverseOrigin } from './reverse.ts'
import type { View } from './view.ts'

/** What we answer for. */
export interface Zones {
  readonly cluster: ClusterZone
  readonly clusterset: ClustersetZone | undefined
  /** The networks whose reverse names are ours to deny. */
  readonly networks: readonly Cidr[]
  readonly ttlSeconds: number
  /** The namespace of names that give none; undefined when short names are not completed. */
  readonly searchNamespace: string | undefined
}

export interface Answer {
  /** Whose answer it is, for metrics and people: `cluster.local`, `in-addr.arpa`. */
  readonly zone: string
  readonly rcode: number
  readonly answers: readonly DnsRecord[]
  readonly authority: readonly DnsRecord[]
  readonly additional: readonly DnsRecord[]
  readonly extended?: ExtendedError
  /** The aliases in `answers` lead to this name, which is not ours. */
  readonly elsewhere?: string
}

const mostAliases = 10

/** Undefined: the name is not ours to answer. `labels` are lower case. */
export function answer(labels: readonly string[], type: number, view: View, zones: Zones): Answer | undefined {
  const place = placeOf(labels, view, zones) ?? shortPlace(labels, type, view, zones)
  if (!place) return undefined
  // Octets that no name of ours has, such as a dot inside a label: text could not tell it from another name.
  if (!isPlain(labels)) return conclude({ place, owner: '', aliases: [] }, nxdomain, type, view, zones)
  if (!view.synced) return failure(place.zone, extendedErrors.notReady, 'first sync is not done')
  return follow(place, labels, type, view, zones)
}

/** A zone, and the way to look a name up in it. */
interface Place {
  readonly zone: string
  /** The owner of the SOA. */
  readonly origin: string
  find(ask: Ask): Finding
}

function follow(start: Place, labels: readonly string[], type: number, view: View, zones: Zones): Answer {
  const aliases: DnsRecord[] = []
  const ttl = zones.ttlSeconds
  let place = start
  let name = labels
  for (;;) {
    const owner = name.join('.')
    const finding = place.find({ name: owner, labels: before(name, place.origin), type, ttl })
    if (finding.kind !== 'alias') return conclude({ place, owner, aliases }, finding, type, view, zones)
    aliases.push({ name: owner, ttl, type: types.CNAME, target: finding.target })
    const soFar = { zone: place.zone, rcode: rcodes.NOERROR, answers: aliases, ...nothing }
    if (type === types.CNAME || type === types.ANY) return soFar
    if (aliases.length > mostAliases) return failure(place.zone, 0, 'aliases lead in a circle')
    name = finding.target.split('.')
    const next = placeOf(name, view, zones)
    if (!next) return { ...soFar, elsewhere: finding.target }
    place = next
  }
}

/** Where the aliases have led. */
interface End {
  readonly place: Place
  readonly owner: string
  readonly aliases: readonly DnsRecord[]
}

function conclude(
  { place, owner, aliases }: End,
  finding: Exclude<Finding, { kind: 'alias' }>,
  type: number,
  view: View,
  zones: Zones,
): Answer {
  const { zone } = place
  if (finding.kind === 'records') {
    return {
      zone,
      rcode: rcodes.NOERROR,
      answers: [...aliases, ...finding.answers],
      authority: [],
      additional: finding.additional,
    }
  }
  const rcode = finding.kind === 'nxdomain' ? rcodes.NXDOMAIN : rcodes.NOERROR
  if (rcode === rcodes.NOERROR && type === types.ANY) {
    return { zone, rcode, answers: [...aliases, minimalAny(owner, zones.ttlSeconds)], ...nothing }
  }
  if (rcode === rcodes.NOERROR && type === types.SOA && owner === place.origin) {
    return { zone, rcode, answers: [...aliases, startOfAuthority(owner, view.newestSerial(), zones)], ...nothing }
  }
  const authority = [startOfAuthority(place.origin, view.serial, zones)]
  return { zone, rcode, answers: aliases, authority, additional: [] }
}

const nothing = { authority: [], additional: [] } as const

function startOfAuthority(origin: string, serial: number, zones: Zones): AuthorityRecord {
  const home = origin.endsWith('.arpa') ? zones.cluster.origin : origin
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
  return { zone, rcode: rcodes.SERVFAIL, answers: [], ...nothing, extended: { code, text } }
}

function placeOf(labels: readonly string[], view: View, zones: Zones): Place | undefined {
  const { cluster, clusterset } = zones
  if (clusterset && isWithin(labels, clusterset.origin)) {
    return { zone: clusterset.origin, origin: clusterset.origin, find: ask => findInClusterset(ask, clusterset, view) }
  }
  if (isWithin(labels, cluster.origin)) {
    return { zone: cluster.origin, origin: cluster.origin, find: ask => findInCluster(ask, cluster, view) }
  }
  if (labels.at(-1) !== 'arpa') return undefined
  const reverse = reverseOrigin(labels, zones.networks, view)
  const zone = { cluster: cluster.origin, clusterset: clusterset?.origin, networks: zones.networks }
  return (
    reverse && {
      zone: labels.slice(-2).join('.'),
      origin: reverse.origin,
      find: ask => findInReverse(ask, reverse.address, zone, view),
    }
  )
}

/**
 * A name that a client sent without its search path, completed as a pod's `resolv.conf` would, if that makes it the name
 * of something: an alias to the full name.
 */
function shortPlace(labels: readonly string[], type: number, view: View, zones: Zones): Place | undefined {
  const { cluster, searchNamespace } = zones
  if (searchNamespace === undefined || labels.length === 0 || labels.length > 4 || !isPlain(labels)) return undefined
  // Until the first sync nobody knows whether a single word is a service; two are more likely a name of the world.
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

export function isWithin(labels: readonly string[], origin: string): boolean {
  const parts = origin.split('.')
  return parts.length <= labels.length && parts.every((part, i) => labels[labels.length - parts.length + i] === part)
}

/** The labels in front of a zone's own. */
function before(labels: readonly string[], origin: string): readonly string[] {
  return origin === '' ? labels : labels.slice(0, labels.length - origin.split('.').length)
}
