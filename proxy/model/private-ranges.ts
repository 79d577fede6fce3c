/** The ranges of addresses that are not routed on the internet: clusters and their nodes are usually in these. */
import { type Cidr, parseCidr } from './address.ts'

/** Loopback, RFC 1918, shared (RFC 6598), link-local, unique local (RFC 4193). */
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
