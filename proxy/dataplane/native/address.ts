/** The addresses of backends as bytes, as the pump takes them. */
import ipaddr from 'ipaddr.js'
import type { SocketAddress } from '../../model/address.ts'
import type { Backend } from '../../model/backend.ts'

/** Computed once for each backend object; a change brings a new object. */
const known = new WeakMap<Backend, Uint8Array>()

/** Undefined for an impossible address or port. */
export function addressBytes(backend: Backend): Uint8Array | undefined {
  const found = known.get(backend)
  if (found) return found
  const bytes = bytesOf(backend)
  if (bytes) known.set(backend, bytes)
  return bytes
}

/** Undefined for an impossible address or port. */
export function bytesOf({ address, port }: SocketAddress): Uint8Array | undefined {
  if (!ipaddr.isValid(address) || !(port > 0 && port <= 65_535)) return undefined
  return Uint8Array.from(ipaddr.parse(address).toByteArray())
}

export function impossibleAddress({ key }: Backend): Error {
  return new Error(`${key} has an impossible address or port`)
}
