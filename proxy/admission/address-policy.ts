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
    | 'metadata'
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

/** The servers of clouds that give out credentials or settings, beside the link-local ones: AWS, Google, Azure, Alibaba, Oracle. */
const metadataServers: ReadonlySet<string> = new Set([
  'fd00:ec2::254',
  'fd20:ce::254',
  '168.63.129.16',
  '100.100.100.200',
  '192.0.0.192',
])

const metadata: Refusal = {
  reason: 'metadata',
  message:
    'is the address of the metadata server of a cloud, which trusts whoever reaches it; list the addresses of pods instead, or name this very address in allow.cidrs of the cluster (a /32 or /128)',
}

/**
 * Why a canonical address is refused; undefined if it may be used. The ranges are those that Kubernetes refuses for endpoints
 * (validation.go, ValidateNonSpecialIP) and metadata servers, in any spelling: an IPv6 address that stands for an IPv4 one is refused
 * like that one.
 */
export function refusalOf(address: string, rights: AddressRights): Refusal | undefined {
  if (isPlainUnicast(address)) return metadataServers.has(address) ? metadata : undefined
  for (const plain of addressesBehind(address)) {
    const refusal = refusalOfPlain(plain, rights)
    if (refusal) return refusal
  }
  return undefined
}

function refusalOfPlain(address: string, rights: AddressRights): Refusal | undefined {
  if (metadataServers.has(address)) return metadata
  const range = ipaddr.parse(address).range()
  if (range === 'loopback') return rights.loopback ? undefined : loopback
  return Object.hasOwn(refusals, range) ? refusals[range as keyof typeof refusals] : undefined
}

/** The common case, without parsing: a service may have thousands of addresses. */
function isPlainUnicast(address: string): boolean {
  if (address.includes(':')) return false
  const first = Number.parseInt(address, 10)
  return first > 0 && first < 224 && first !== 127 && first !== 169
}

/** The address, and the IPv4 addresses that it may stand for. */
function addressesBehind(address: string): string[] {
  if (!address.includes(':')) return [address]
  const v6 = ipaddr.IPv6.parse(address)
  if (v6.isIPv4MappedAddress()) return [v6.toIPv4Address().toString()]
  return [address, ...embedded(v6).map(bytes => bytes.join('.'))]
}

function embedded(v6: ipaddr.IPv6): number[][] {
  const { parts } = v6
  const bytes = v6.toByteArray()
  const last = bytes.slice(12)
  const range = v6.range()
  // NAT64 with a prefix of the network's own in 64:ff9b:1::/48 (RFC 8215). Its length is not known, so each is tried (RFC 6052, 2.2): byte 8
  // is left out. What begins with 0 is the rest of another length.
  if (parts[0] === 0x64 && parts[1] === 0xff9b && parts[2] === 1) {
    const others = [...bytes.slice(0, 8), ...bytes.slice(9)]
    return [last, ...[6, 7, 8].map(from => others.slice(from, from + 4))].filter(([first]) => first !== 0)
  }
  // NAT64 (RFC 6052) 64:ff9b::a.b.c.d, and SIIT (RFC 6145) ::ffff:0:a.b.c.d
  if (range === 'rfc6052' || range === 'rfc6145') return [last]
  // 2002:aabb:ccdd::
  if (range === '6to4') return [bytes.slice(2, 6)]
  // Teredo (RFC 4380, 4): the server, and the client with all bits inverted.
  if (range === 'teredo') return [bytes.slice(4, 8), last.map(byte => byte ^ 255)]
  // ISATAP (RFC 5214, 6.1): the identifier is [02]00:5efe:a.b.c.d
  if (((parts[4] ?? 0) & ~0x200) === 0 && parts[5] === 0x5efe) return [last]
  // IPv4-compatible addresses (RFC 4291 2.5.5.1), without :: and ::1.
  const isCompatible = parts.slice(0, 6).every(part => part === 0) && parts[6] !== 0
  return isCompatible ? [last] : []
}

function refusal(reason: Refusal['reason'], why: string): Refusal {
  return { reason, message: `${why}; ${listPods}` }
}
