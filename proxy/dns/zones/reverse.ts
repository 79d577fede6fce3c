/**
 * `in-addr.arpa` and `ip6.arpa`: the names of services and of their ready endpoints, for the addresses that have one.
 * Only inside the configured networks is a missing name ours to deny; all else belongs to the resolvers outside.
 */
import { type Cidr, canonicalAddress, familyOf, parseCidr } from '../../model/address.ts'
import { isHostName, type NameRecord } from '../message/record.ts'
import { types } from '../message/wire.ts'
import type { Reference } from './address-index.ts'
import { sharedBy } from './clusterset.ts'
import { type Ask, type Finding, nodata, nxdomain, records } from './lookup.ts'
import type { View } from './view.ts'

export interface ReverseZone {
  readonly cluster: string
  readonly clusterset: string | undefined
  readonly networks: readonly Cidr[]
}

/** The zone that a reverse name lies in, if it is ours to answer: its origin, and the address if the name is a whole one. */
export function reverseOrigin(
  labels: readonly string[],
  networks: readonly Cidr[],
  view: View,
): { readonly origin: string; readonly address: string | undefined } | undefined {
  const range = reverseRange(labels)
  if (!range) return undefined
  const network = networks.find(cidr => cidr.bits <= range.bits && cidr.contains(range.at(0)))
  const whole = range.size === 1 ? range.at(0) : undefined
  if (!network && (whole === undefined || namesOf(view.named(whole)).length === 0)) return undefined
  const step = range.family === 4 ? 8 : 4
  const bits = network?.bits ?? (range.family === 4 ? 24 : 64)
  const kept = 2 + Math.min(labels.length - 2, Math.ceil(bits / step))
  return { origin: labels.slice(-kept).join('.'), address: whole }
}

export function findInReverse(ask: Ask, address: string | undefined, zone: ReverseZone, view: View): Finding {
  // A part of a reverse name carries the names below it.
  if (address === undefined) return nodata
  const targets = targetsOf(namesOf(view.named(address)), zone, view)
  if (targets.length === 0) return nxdomain
  if (ask.type !== types.PTR) return nodata
  return records(targets.map((target): NameRecord => ({ name: ask.name, ttl: ask.ttl, type: types.PTR, target })))
}

/** Services win over endpoints, our own cluster over the others (KEP-1645 2.4.3). */
function namesOf(references: readonly Reference[]): readonly Reference[] {
  const own = references.filter(reference => !reference.endpoint)
  if (own.length > 0) return own
  const local = references.filter(reference => reference.endpoint?.local)
  return local.length > 0 ? local : references.filter(reference => reference.endpoint?.headless)
}

function targetsOf(references: readonly Reference[], zone: ReverseZone, view: View): string[] {
  const targets = references.flatMap(({ service: key, endpoint }) => {
    const [namespace = '', name = ''] = key.split('/')
    const service = `${name}.${namespace}.svc`
    const found = view.service(namespace, name)
    if (!endpoint && !found?.local?.imported) return [`${service}.${zone.cluster}`]
    if (!endpoint) return zone.clusterset ? [`${service}.${zone.clusterset}`] : []
    if (endpoint.local) return [`${endpoint.label}.${service}.${zone.cluster}`]
    const shared = found && sharedBy(found).some(member => member.cluster === endpoint.cluster)
    return shared && zone.clusterset ? [`${endpoint.label}.${endpoint.cluster}.${service}.${zone.clusterset}`] : []
  })
  // Names that no query could carry would spoil the whole reply.
  return [...new Set(targets)].filter(isHostName)
}

/** `4.3.2.1.in-addr.arpa`, or nibbles under `ip6.arpa`, whole or only the first of them, as the range they stand for. */
function reverseRange(labels: readonly string[]): Cidr | undefined {
  const digits = labels.slice(0, -2).reverse()
  const root = labels.slice(-2).join('.')
  if (root === 'in-addr.arpa' && digits.length <= 4 && digits.every(d => /^(0|[1-9]\d{0,2})$/.test(d))) {
    return parseCidr(`${[...digits, '0', '0', '0', '0'].slice(0, 4).join('.')}/${digits.length * 8}`)
  }
  if (root === 'ip6.arpa' && digits.length <= 32 && digits.every(d => /^[0-9a-f]$/.test(d))) {
    const text = digits
      .join('')
      .padEnd(32, '0')
      .replace(/(.{4})(?=.)/g, '$1:')
    const address = canonicalAddress(text)
    // An IPv4-mapped address would become IPv4 here, and is no name under ip6.arpa that anybody has.
    return address !== undefined && familyOf(address) === 6 ? parseCidr(`${address}/${digits.length * 4}`) : undefined
  }
  return undefined
}
