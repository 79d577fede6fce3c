/** The header `forwarded` (RFC 7239): the client of a stream, as the cluster that opens it knows it. Its word, and no proof. */
import { endpointText, isLoopback, parseEndpoint, type SocketAddress } from '../../model/address.ts'

/** A client at a loopback address is this machine, or this Pod, which others know by the address that the tunnel comes from. */
export function forwardedText({ address, port }: SocketAddress, ofTunnel: string | undefined): string {
  const known = ofTunnel !== undefined && isLoopback(address) && !isLoopback(ofTunnel) ? ofTunnel : address
  return `for="${endpointText(known, port)}"`
}

/** The canonical address of the first element; undefined unless it has one. */
export function originOf(header: string | string[] | undefined): string | undefined {
  if (typeof header !== 'string' || header.length > 1024) return undefined
  const [, quoted, plain] = /^\s*(?:[a-z]+=[^;,]*;)*\s*for=(?:"([^"]*)"|([^;,\s]*))/i.exec(header) ?? []
  return parseEndpoint(quoted ?? plain ?? '')?.address
}
