/** The header `forwarded` (RFC 7239): the client of a stream, as the cluster that opens it knows it. Its word, and no proof. */
import { endpointText, knownAddress, parseEndpoint, type SocketAddress } from '../../model/address.ts'

/** `ofTunnel`: the address that the tunnel comes from, by which others know a client at a loopback address. */
export function forwardedText({ address, port }: SocketAddress, ofTunnel: string | undefined): string {
  return `for="${endpointText(knownAddress(address, ofTunnel), port)}"`
}

/** The canonical address of the first element; undefined unless it has one. */
export function originOf(header: string | string[] | undefined): string | undefined {
  if (typeof header !== 'string' || header.length > 1024) return undefined
  const [, quoted, plain] = /^\s*(?:[a-z]+=[^;,]*;)*\s*for=(?:"([^"]*)"|([^;,\s]*))/i.exec(header) ?? []
  return parseEndpoint(quoted ?? plain ?? '')?.address
}
