/** Which addresses a cluster may name as its endpoints, by the range that they are in. Pure; the same for all sources. */
import ipaddr from 'ipaddr.js'

/** Why an address, or a service, is refused, and what to do about it. */
export interface Refusal {
  readonly reason:
    | 'link-local'
    | 'unspecified'
    | 'multicast'
    | 'broadcast'
    | 'loopback'
    | 'own'
    | 'outside'
    | 'owner'
    | 'tenant'
    | 'namespace'
    | 'service'
  readonly message: string
}

export interface AddressRights {
  /** Whether the cluster may name loopback addresses, which are of the machine that Starlane runs on. */
  readonly loopback: boolean
}

const listPods = 'list the addresses of pods instead'

const refusals = {
  linkLocal: refusal('link-local', `is link-local, which leads to this machine or the metadata server of its cloud`),
  unspecified: refusal('unspecified', 'is the unspecified address, which leads to this machine'),
  multicast: refusal('multicast', 'is multicast and not the address of one pod'),
  broadcast: refusal('broadcast', 'is the broadcast address and not the address of one pod'),
} as const

const loopback: Refusal = {
  reason: 'loopback',
  message:
    'is a loopback address, so of the machine that Starlane runs on and not of the cluster; list the addresses of pods instead, or set allow: { loopback: true } of the cluster',
}

/** IPv6 ranges whose addresses stand for an IPv4 address, with the 16-bit groups that hold it. */
const embedding: Readonly<Record<string, number>> = {
  // NAT64 (RFC 6052) 64:ff9b::a.b.c.d, and SIIT (RFC 6145) ::ffff:0:a.b.c.d
  rfc6052: 6,
  rfc6145: 6,
  // 2002:aabb:ccdd::
  '6to4': 1,
}

/**
 * Why a canonical address is refused; undefined if it may be used. The ranges are those that Kubernetes refuses for endpoints
 * (validation.go, ValidateNonSpecialIP), in any spelling: an IPv6 address that stands for an IPv4 one is refused like that one.
 */
export function refusalOf(address: string, rights: AddressRights): Refusal | undefined {
  if (isPlainUnicast(address)) return undefined
  const range = ipaddr.parse(plainAddress(address)).range()
  if (range === 'loopback') return rights.loopback ? undefined : loopback
  return Object.hasOwn(refusals, range) ? refusals[range as keyof typeof refusals] : undefined
}

/** The common case, without parsing: a service may have thousands of addresses. */
function isPlainUnicast(address: string): boolean {
  if (address.includes(':')) return false
  const first = Number.parseInt(address, 10)
  return first > 0 && first < 224 && first !== 127 && first !== 169
}

/** The IPv4 address that an IPv6 address stands for; any other address unchanged. */
function plainAddress(address: string): string {
  if (!address.includes(':')) return address
  const v6 = ipaddr.IPv6.parse(address)
  if (v6.isIPv4MappedAddress()) return v6.toIPv4Address().toString()
  const { parts } = v6
  // IPv4-compatible addresses (RFC 4291 2.5.5.1), without :: and ::1.
  const isCompatible = parts.slice(0, 6).every(part => part === 0) && parts[6] !== 0
  const first = isCompatible ? 6 : embedding[v6.range()]
  if (first === undefined) return address
  const [high = 0, low = 0] = parts.slice(first)
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

function refusal(reason: Refusal['reason'], why: string): Refusal {
  return { reason, message: `${why}; ${listPods}` }
}
