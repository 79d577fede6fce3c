/** IP addresses, endpoints and CIDRs: their canonical text, parsing and comparison. */
import ipaddr from 'ipaddr.js'

/** Protocols of Kubernetes ports. Starlane proxies TCP and UDP; SCTP ports are only shown. */
export type Protocol = 'TCP' | 'UDP' | 'SCTP'
export type Family = 4 | 6

/** Dotted and canonical, as most addresses are: a fifth of the time that parsing takes. */
const plainIPv4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/

/**
 * The canonical text of an address, used as a key everywhere: dotted IPv4, RFC 5952 IPv6, IPv4-mapped IPv6 as IPv4.
 * Undefined for anything else, including names, zones (`%eth0`) and short IPv4 forms (`127.1`).
 */
export function canonicalAddress(text: string): string | undefined {
  if (plainIPv4.test(text)) return text
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text).toString()
  if (!text.includes(':') || text.includes('%') || !ipaddr.IPv6.isValid(text)) return undefined
  const v6 = ipaddr.IPv6.parse(text)
  return v6.isIPv4MappedAddress() ? v6.toIPv4Address().toString() : v6.toRFC5952String()
}

/** The canonical text of 4 or 16 bytes. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`
  const v6 = new ipaddr.IPv6([...bytes])
  return v6.isIPv4MappedAddress() ? v6.toIPv4Address().toString() : v6.toRFC5952String()
}

/** The family of a canonical address. */
export function familyOf(address: string): Family {
  return address.includes(':') ? 6 : 4
}

/** Whether packets to a canonical address never leave the machine. */
export function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.')
}

/** By which others know a client: one at a loopback address is this machine, which has the address that its way to them comes from. */
export function knownAddress(address: string, ofWay: string | undefined): string {
  return ofWay !== undefined && isLoopback(address) && !isLoopback(ofWay) ? ofWay : address
}

/** The peer address of a socket without `::ffff:`, so that a client has one spelling. Cheap, for the hot path. */
export function unmapped(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

/**
 * What one subscriber is assumed to hold, as a key: an IPv4 address itself, the first 64 bits of an IPv6 address. Takes a
 * canonical address.
 */
export function subscriberNetwork(address: string): string {
  return familyOf(address) === 4 ? address : ipaddr.IPv6.parse(address).parts.slice(0, 4).join(':')
}

/** An address with a port, of either protocol. */
export interface SocketAddress {
  readonly address: string
  readonly port: number
}

/** `127.0.0.1:80`, `[fd00::1]:80`. */
export function endpointText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** The inverse of {@link endpointText}; undefined unless it is an address and a port of 0..65535. */
export function parseEndpoint(text: string): SocketAddress | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text)
  const address = match && canonicalAddress(match[1] ?? match[2] ?? '')
  const port = Number(match?.[3])
  return address !== null && address !== undefined && port <= 65535 ? { address, port } : undefined
}

/** A range of addresses. */
export interface Cidr {
  readonly text: string
  readonly family: Family
  /** The prefix length in bits. */
  readonly bits: number
  /** The number of addresses; Infinity beyond 2^53. */
  readonly size: number
  contains(address: string): boolean
  /** The address with this index, counted from 0. */
  at(index: number): string
}

/** `10.0.0.0/8`, `fd00::/64`, or a single address. Undefined if it is not one, or if bits beyond the prefix are set. */
export function parseCidr(text: string): Cidr | undefined {
  const [base = '', bitsText, ...rest] = text.split('/')
  const address = canonicalAddress(base)
  if (address === undefined || rest.length > 0) return undefined
  const family = familyOf(address)
  const width = family === 4 ? 32 : 128
  const bits = bitsText === undefined ? width : /^\d{1,3}$/.test(bitsText) ? Number(bitsText) : Number.NaN
  if (!(bits <= width)) return undefined
  const network = numberOf(address)
  const hostBits = BigInt(width - bits)
  if ((network >> hostBits) << hostBits !== network) return undefined
  return {
    text: `${address}/${bits}`,
    family,
    bits,
    size: width - bits > 53 ? Number.POSITIVE_INFINITY : 2 ** (width - bits),
    contains: other => familyOf(other) === family && numberOf(other) >> hostBits === network >> hostBits,
    at: index => addressOf(network + BigInt(index), family),
  }
}

function numberOf(address: string): bigint {
  return ipaddr
    .parse(address)
    .toByteArray()
    .reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
}

function addressOf(value: bigint, family: Family): string {
  const bytes = Array.from({ length: family === 4 ? 4 : 16 }, (_, i) => {
    const shift = BigInt(8 * ((family === 4 ? 3 : 15) - i))
    return Number((value >> shift) & 255n)
  })
  const parsed = ipaddr.fromByteArray(bytes)
  return parsed instanceof ipaddr.IPv6 ? parsed.toRFC5952String() : parsed.toString()
}

/** The ranges that are not routed on the internet: loopback, RFC 1918, shared (RFC 6598), link-local, unique local (RFC 4193). */
export const privateRanges: readonly Cidr[] = [
  '127.0.0.0/8',
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '100.64.0.0/10',
  '169.254.0.0/16',
  '::1/128',
  'fc00::/7',
  'fe80::/10',
].flatMap(text => parseCidr(text) ?? [])

export function isPrivate(address: string): boolean {
  return privateRanges.some(range => range.contains(address))
}
