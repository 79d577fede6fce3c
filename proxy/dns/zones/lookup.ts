/** The result of looking one name and type up in a zone, and the records that zones share. */
import { type AddressRecord, addressRecord, addressType, type DnsRecord, type ServerRecord } from '../message/record.ts'
import { types } from '../message/wire.ts'

export type Lookup =
  | { readonly kind: 'records'; readonly answers: readonly DnsRecord[]; readonly additional: readonly DnsRecord[] }
  /** A CNAME to the target, which may be in any zone. */
  | { readonly kind: 'alias'; readonly target: string }
  /** The name exists, records of this type do not. */
  | { readonly kind: 'nodata' }
  /** Neither the name nor anything below it exists (RFC 8020). */
  | { readonly kind: 'nxdomain' }

export const nodata: Lookup = { kind: 'nodata' }
export const nxdomain = { kind: 'nxdomain' } as const satisfies Lookup

/** A question within one zone. */
export interface ZoneQuestion {
  /** The whole name, for the owners of records. */
  readonly name: string
  /** The labels below the zone's origin, in the order of the name. */
  readonly labels: readonly string[]
  readonly type: number
  /** Seconds. */
  readonly ttl: number
}

export function records(answers: readonly DnsRecord[], additional: readonly DnsRecord[] = []): Lookup {
  return answers.length > 0 ? { kind: 'records', answers, additional } : nodata
}

/** A or AAAA records: of the addresses those of the type asked. */
export function addressRecords(asked: ZoneQuestion, addresses: Iterable<string>): Lookup {
  return records(
    [...new Set(addresses)]
      .filter(a => addressType(a) === asked.type)
      .map(a => addressRecord(asked.name, asked.ttl, a)),
  )
}

/** What one SRV record names: a port at a host, and the host's addresses. */
export interface SrvTarget {
  readonly port: number
  readonly host: string
  readonly addresses: readonly string[]
}

/**
 * SRV records, each target once, with the addresses of the hosts as additional records. Priority 0 and equal weights that
 * add up to about 100, as in CoreDNS.
 */
export function srvRecords({ name, ttl }: ZoneQuestion, targets: readonly SrvTarget[]): Lookup {
  const unique = [...new Map(targets.map(target => [`${target.port} ${target.host}`, target])).values()]
  const weight = Math.max(1, Math.floor(100 / Math.max(1, unique.length)))
  const answers = unique.map(
    ({ port, host }): ServerRecord => ({ name, ttl, type: types.SRV, priority: 0, weight, port, target: host }),
  )
  const additional = new Map<string, AddressRecord>()
  for (const { host, addresses } of targets) {
    for (const address of addresses) additional.set(`${host} ${address}`, addressRecord(host, ttl, address))
  }
  return records(answers, [...additional.values()])
}
