/** Resource records as values. Names are lower case, without the final dot; the root is the empty name. */
import { familyOf } from '../../model/address.ts'
import { types } from './wire.ts'

interface Owned {
  readonly name: string
  /** Seconds. */
  readonly ttl: number
}

export interface AddressRecord extends Owned {
  readonly type: typeof types.A | typeof types.AAAA
  readonly address: string
}

export interface NameRecord extends Owned {
  readonly type: typeof types.CNAME | typeof types.PTR | typeof types.NS
  readonly target: string
}

export interface ServerRecord extends Owned {
  readonly type: typeof types.SRV
  readonly priority: number
  readonly weight: number
  readonly port: number
  readonly target: string
}

export interface TextRecord extends Owned {
  readonly type: typeof types.TXT
  readonly texts: readonly string[]
}

export interface AuthorityRecord extends Owned {
  readonly type: typeof types.SOA
  readonly primary: string
  readonly admin: string
  readonly serial: number
  /** How long a resolver may cache a denial, in seconds (RFC 2308). */
  readonly minimum: number
}

/** A record whose data we pass on unread (RFC 3597). */
export interface OpaqueRecord extends Owned {
  readonly type: number
  readonly data: Buffer
}

export type DnsRecord = AddressRecord | NameRecord | ServerRecord | TextRecord | AuthorityRecord | OpaqueRecord

export function addressRecord(name: string, ttl: number, address: string): AddressRecord {
  return { name, ttl, type: addressType(address), address }
}

export function addressType(address: string): typeof types.A | typeof types.AAAA {
  return familyOf(address) === 4 ? types.A : types.AAAA
}

/** Lower-case letters, digits, hyphens and underscores, in lengths that fit the wire format. */
export function isHostName(name: string): boolean {
  return name.length <= 253 && name.split('.').every(label => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label))
}

/** The answer to ANY: small, so that it is of no use for amplification (RFC 8482 4.2). */
export function minimalAny(name: string, ttl: number): OpaqueRecord {
  return { name, ttl, type: types.HINFO, data: Buffer.from('\x07RFC8482\x00', 'latin1') }
}
