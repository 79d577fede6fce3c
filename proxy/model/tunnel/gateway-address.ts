/** Where a gateway is reached, as a configuration or a cluster names it. */
import { canonicalAddress, endpointText } from '../address.ts'

export interface NamedGateway {
  /** A name, or a canonical address. */
  readonly host: string
  readonly port: number
  /** `gw.example:15008`, `[2001:db8::1]:15008`. */
  readonly text: string
}

export const defaultGatewayPort = 15_008

/** `gw.example`, `gw.example:15008`, `192.0.2.1`, `[2001:db8::1]:15008`; undefined for anything else. */
export function parseGateway(text: string): NamedGateway | undefined {
  const [, six, name, port = String(defaultGatewayPort)] =
    /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})))(?::(\d{1,5}))?$/.exec(text) ?? []
  const host = six ?? name
  if (host === undefined || (six !== undefined && canonicalAddress(six) === undefined)) return undefined
  return namedGateway(host, Number(port))
}

/** Undefined for a port that is none. */
export function namedGateway(name: string, port: number): NamedGateway | undefined {
  if (!(port > 0 && port <= 65_535)) return undefined
  const host = canonicalAddress(name) ?? name
  return { host, port, text: host.includes(':') ? endpointText(host, port) : `${host}:${port}` }
}
