/** What a zone has to say about one name and type, and the ways to say it that zones share. */
import { type AddressRecord, addressRecord, addressType, type DnsRecord, type ServerRecord } from '../message/record.ts'
import { types } from '../message/wire.ts'

export type Finding =
  | { readonly kind: 'records'; readonly answers: readonly DnsRecord[]; readonly additional: readonly DnsRecord[] }
  /** Another name for the target, which may lie in any zone. */
  | { readonly kind: 'alias'; readonly target: string }
  /** The name exists, records of this type do not. */
  | { readonly kind: 'nodata' }
  /** Neither the name nor anything below it exists (RFC 8020). */
  | { readonly kind: 'nxdomain' }

export const nodata: Finding = { kind: 'nodata' }
export const nxdomain = { kind: 'nxdomain' } as const satisfies Finding

/** One question inside one zone. */
export interface Ask {
  /** The whole name, for owners of records. */
  readonly name: string
  /** The labels before the zone's own. */
  readonly labels: readonly string[]
  readonly type: number
  /** Seconds. */
  readonly ttl: number
}

export function records(answers: readonly DnsRecord[], additional: readonly DnsRecord[] = []): Finding {
  return answers.length > 0 ? { kind: 'records', answers, additional } : nodata
}

/** Of the addresses those of the family asked for. */
export function addresses(ask: Ask, all: Iterable<string>): Finding {
  return records(
    [...new Set(all)].filter(a => addressType(a) === ask.type).map(a => addressRecord(ask.name, ask.ttl, a)),
  )
}

/** A port of a target: what one SRV record says. */
export interface Offer {
  readonly port: number
  readonly target: string
  readonly addresses: readonly string[]
}

/**
 * SRV records with the addresses of their targets, each target once. Priority 0 and equal weights that add up to about
 * 100, as CoreDNS has them.
 */
export function servers(ask: Ask, offers: readonly Offer[]): Finding {
  const once = [...new Map(offers.map(offer => [`${offer.port} ${offer.target}`, offer])).values()]
  const weight = Math.max(1, Math.floor(100 / Math.max(1, once.length)))
  const { name, ttl } = ask
  const answers = once.map(
    ({ port, target }): ServerRecord => ({ name, ttl, type: types.SRV, priority: 0, weight, port, target }),
  )
  const glue = new Map<string, AddressRecord>()
  for (const offer of offers) {
    for (const address of offer.addresses)
      glue.set(`${offer.target} ${address}`, addressRecord(offer.target, ttl, address))
  }
  return records(answers, [...glue.values()])
}
