/** Constants of the DNS wire format (RFC 1035 and the IANA registry) and their names. */

export const headerBytes = 12
/** The largest UDP message without EDNS (RFC 1035 4.2.1). */
export const plainUdpBytes = 512
/** Fits one unfragmented IPv6 packet on every path (DNS flag day 2020): our limit with EDNS, and what we announce to upstreams. */
export const ednsUdpBytes = 1232
/** The largest message over TCP: its length prefix has 16 bits. */
export const tcpBytes = 65_535

export const types = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  NAPTR: 35,
  OPT: 41,
  DS: 43,
  RRSIG: 46,
  NSEC: 47,
  DNSKEY: 48,
  SVCB: 64,
  HTTPS: 65,
  TSIG: 250,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
  CAA: 257,
} as const

export const classes = { IN: 1 } as const

export const rcodes = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const

/** An extended error (RFC 8914): the reason of an error, sent to clients that use EDNS. */
export interface ExtendedError {
  readonly code: number
  readonly text: string
}

export const extendedErrors = {
  staleAnswer: 3,
  cachedError: 13,
  notReady: 14,
  prohibited: 18,
  staleNxdomain: 19,
  notSupported: 21,
  noReachableAuthority: 22,
} as const

const typeNames = new Map<number, string>(Object.entries(types).map(([name, code]) => [code, name]))
const rcodeNames = new Map<number, string>(Object.entries(rcodes).map(([name, code]) => [code, name]))

/** `A`, or `TYPE1234` for a type without a name here (RFC 3597 5). */
export function typeName(code: number): string {
  return typeNames.get(code) ?? `TYPE${code}`
}

/** The inverse of {@link typeName}, ignoring case; undefined for an unknown type. */
export function typeCode(name: string): number | undefined {
  const upper = name.toUpperCase()
  const code = Object.hasOwn(types, upper)
    ? types[upper as keyof typeof types]
    : Number(/^TYPE(\d{1,5})$/.exec(upper)?.[1])
  return code <= 0xffff ? code : undefined
}

export function rcodeName(code: number): string {
  return rcodeNames.get(code) ?? `RCODE${code}`
}

/** Types of queries and of other sections that are no records, such as transfers (RFC 6895 3.1). ANY is not one: it has an answer. */
export function isMetaType(type: number): boolean {
  return type === 0 || type === types.OPT || (type >= 128 && type < types.ANY)
}
