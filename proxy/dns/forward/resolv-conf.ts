/** Parses the nameservers and the search path of a `resolv.conf` (resolv.conf(5)). */
import { canonicalAddress } from '../../model/address.ts'

export interface ResolvConf {
  /** Canonical addresses, in order. Lines with a zone (`fe80::1%eth0`) are skipped. */
  readonly nameservers: readonly string[]
  /** Lower case, without the final dot. */
  readonly search: readonly string[]
}

export function parseResolvConf(text: string): ResolvConf {
  const nameservers: string[] = []
  let search: string[] = []
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/)
    const address = keyword === 'nameserver' ? canonicalAddress(values[0] ?? '') : undefined
    if (address !== undefined && !nameservers.includes(address)) nameservers.push(address)
    // The last `search` or `domain` line wins.
    if (keyword === 'search' || keyword === 'domain') search = values.map(name => name.toLowerCase().replace(/\.$/, ''))
  }
  return { nameservers, search }
}
