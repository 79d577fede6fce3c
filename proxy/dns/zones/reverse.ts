/**
 * `in-addr.arpa` and `ip6.arpa`: the names of services and of their ready endpoints by address. Missing names get NXDOMAIN
 * only within the configured networks; all others are forwarded.
 */
import { type Cidr, canonicalAddress, familyOf, isPrivate, parseCidr } from '../../model/address.ts'
import { isHostName, type NameRecord } from '../message/record.ts'
import { types } from '../message/wire.ts'
import type { AddressOwner } from './address-index.ts'
import { type Lookup, nodata, nxdomain, records, type ZoneQuestion } from './lookup.ts'
import { sharedBy } from './shared.ts'
import type { View } from './view.ts'

export interface ReverseZone {
  readonly cluster: string
  readonly clusterset: string | undefined
  readonly networks: readonly Cidr[]
}

/** The origin of the zone of a reverse name, and its address if the name is complete. Undefined: the name is not ours. */
export function reverseOrigin(
  labels: readonly string[],
  networks: readonly Cidr[],
  view: View,
): { readonly origin: string; readonly address: string | undefined } | undefined {
  const range = reverseRange(labels)
  if (!range) return undefined
  const network = networks.find(cidr => cidr.bits <= range.bits && cidr.contains(range.at(0)))
  const address = range.size === 1 ? range.at(0) : undefined
  if (!network && (address === undefined || namedOwners(ownersOf(address, networks, view)).length === 0))
    return undefined
  const step = range.family === 4 ? 8 : 4
  const bits = network?.bits ?? (range.family === 4 ? 24 : 64)
  const kept = 2 + Math.min(labels.length - 2, Math.ceil(bits / step))
  return { origin: labels.slice(-kept).join('.'), address }
}

export function findInReverse(asked: ZoneQuestion, address: string | undefined, zone: ReverseZone, view: View): Lookup {
  // An incomplete reverse name has other names below it.
  if (address === undefined) return nodata
  const targets = targetsOf(namedOwners(ownersOf(address, zone.networks, view)), zone, view)
  if (targets.length === 0) return nxdomain
  if (asked.type !== types.PTR) return nodata
  return records(targets.map((target): NameRecord => ({ name: asked.name, ttl: asked.ttl, type: types.PTR, target })))
}

/**
 * The owners that may name an address. A service's own address is one that we listen on; that of an endpoint or of an import is
 * a claim, which is believed within private ranges and the networks of the clusters. The reverse names of all others belong to their owners.
 */
function ownersOf(address: string, networks: readonly Cidr[], view: View): readonly AddressOwner[] {
  const owners = view.ownersOf(address)
  const isKnown = isPrivate(address) || networks.some(network => network.contains(address))
  return isKnown ? owners : owners.filter(owner => !owner.endpoint && !owner.imported)
}

/** Services before endpoints, the local cluster before the others (KEP-1645 2.4.3). */
function namedOwners(owners: readonly AddressOwner[]): readonly AddressOwner[] {
  const own = owners.filter(owner => !owner.endpoint)
  if (own.length > 0) return own
  const local = owners.filter(owner => owner.endpoint?.local)
  return local.length > 0 ? local : owners.filter(owner => owner.endpoint?.headless)
}

function targetsOf(owners: readonly AddressOwner[], zone: ReverseZone, view: View): string[] {
  const targets = owners.flatMap(({ service: key, endpoint, imported }) => {
    const [namespace = '', name = ''] = key.split('/')
    const service = `${name}.${namespace}.svc`
    const found = view.service(namespace, name)
    if (!endpoint && !imported && !found?.local?.imported) return [`${service}.${zone.cluster}`]
    if (!endpoint) return zone.clusterset ? [`${service}.${zone.clusterset}`] : []
    if (endpoint.local) return [`${endpoint.label}.${service}.${zone.cluster}`]
    const shared = imported || (found && sharedBy(found).some(member => member.cluster === endpoint.cluster))
    return shared && zone.clusterset ? [`${endpoint.label}.${endpoint.cluster}.${service}.${zone.clusterset}`] : []
  })
  // A name that the wire format cannot carry would make the whole reply invalid.
  return [...new Set(targets)].filter(isHostName)
}

/** The range of addresses of a complete or incomplete reverse name: `4.3.2.1.in-addr.arpa`, or nibbles under `ip6.arpa`. */
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
    // IPv4-mapped addresses become IPv4 here and have no name under ip6.arpa.
    return address !== undefined && familyOf(address) === 6 ? parseCidr(`${address}/${digits.length * 4}`) : undefined
  }
  return undefined
}
