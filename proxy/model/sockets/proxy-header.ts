/**
 * The header of the PROXY protocol, version 2 (haproxy.org, proxy-protocol.txt 2.2), with which a connection to a backend begins if its
 * service asks for it: who the client is, and the frontend that it has connected to.
 */
import ipaddr from 'ipaddr.js'
import { familyOf, knownAddress, type SocketAddress } from '../address.ts'
import type { Frontend } from '../service.ts'

const signature = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a)
/** Version 2, a connection on behalf of another. */
const proxied = 0x21
/** The family, and TCP. */
const families = { 4: 0x11, 6: 0x21 } as const

/**
 * The header of a connection that is on nobody's behalf: command LOCAL, without addresses. Receivers take the connection's own
 * addresses.
 */
export const ownProxyHeader: Uint8Array = Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex')

/**
 * 28 bytes for IPv4, 52 for IPv6. Both addresses are of one family: a frontend has an address of one. A client at a loopback address is
 * this machine: it is named by `localAddress`, where the way to the backend comes from, since its own would be the backend's machine there; if that
 * is of another family, by none.
 */
export function proxyHeader(
  { address, port }: SocketAddress,
  frontend: Pick<Frontend, 'ip' | 'port'>,
  localAddress?: string,
): Uint8Array {
  const known = knownAddress(address, localAddress)
  if (familyOf(known) !== familyOf(address)) return ownProxyHeader
  const [from, to] = [bytesOf(known), bytesOf(frontend.ip)]
  const header = Buffer.alloc(16 + from.length + to.length + 4)
  header.set(signature)
  header.writeUInt8(proxied, 12)
  header.writeUInt8(families[familyOf(address)], 13)
  header.writeUInt16BE(header.length - 16, 14)
  header.set(from, 16)
  header.set(to, 16 + from.length)
  header.writeUInt16BE(port, header.length - 4)
  header.writeUInt16BE(frontend.port, header.length - 2)
  return header
}

/** 4 or 16 bytes. */
export function bytesOf(address: string): Uint8Array {
  return Uint8Array.from(ipaddr.parse(address).toByteArray())
}
