/** What a WireGuard device has now. */

/** What `wg show NAME dump` says of a device. */
export interface WireguardState {
  readonly publicKey: string
  readonly port: number
  readonly peers: readonly {
    readonly key: string
    /** `192.0.2.21:51840`, `[fd00::21]:51840`, or `(none)`. */
    readonly endpoint: string
    readonly allowed: readonly string[]
  }[]
}

/** Tabs between fields (wg(8), "dump"): private key, public key, port, mark; then a line for each peer. */
export function parseDump(text: string): WireguardState | undefined {
  const [first = '', ...rest] = text.split('\n').filter(line => line !== '')
  const [, publicKey, port] = first.split('\t')
  if (publicKey === undefined || port === undefined) return undefined
  return {
    publicKey,
    port: Number(port),
    peers: rest.map(line => {
      const [key = '', , endpoint = '', allowed = ''] = line.split('\t')
      return { key, endpoint, allowed: allowed === '(none)' ? [] : allowed.split(',') }
    }),
  }
}
