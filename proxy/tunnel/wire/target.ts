/** Where a CONNECT leads: `:authority` is an address and port, or the name and port of a service. */
import { parseEndpoint } from '../../model/address.ts'

export type Target =
  | { readonly address: string; readonly port: number }
  | { readonly namespace: string; readonly name: string; readonly port: number }

const label = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
const serviceName = new RegExp(`^(${label})\\.(${label})(?:\\.svc(?:\\.[a-z0-9.-]+)?)?:(\\d{1,5})$`)

/** Undefined for anything else. A name is `NAME.NAMESPACE`, with `.svc` and a domain or without. */
export function parseTarget(authority: string): Target | undefined {
  if (authority.length > 300) return undefined
  const endpoint = parseEndpoint(authority)
  if (endpoint) return endpoint.port > 0 ? endpoint : undefined
  const [, name, namespace, portText] = serviceName.exec(authority) ?? []
  const port = Number(portText)
  if (name === undefined || namespace === undefined || !(port > 0 && port <= 65535)) return undefined
  return { namespace, name, port }
}

/** The path of CONNECT-UDP (RFC 9298, 3): the default template, with the colons of an IPv6 address escaped. */
export function udpPath(address: string, port: number): string {
  return `/.well-known/masque/udp/${encodeURIComponent(address)}/${port}/`
}

/** The inverse of {@link udpPath}; undefined for any other path. */
export function parseUdpPath(path: string): Target | undefined {
  const [, host = '', port = ''] = /^\/\.well-known\/masque\/udp\/([^/]{1,300})\/(\d{1,5})\/$/.exec(path) ?? []
  try {
    const name = decodeURIComponent(host)
    return parseTarget(name.includes(':') ? `[${name}]:${port}` : `${name}:${port}`)
  } catch {
    return undefined // a bad escape
  }
}
