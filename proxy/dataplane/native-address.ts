/** Addresses between their canonical text and the bytes that the pump takes. */
import ipaddr from 'ipaddr.js'
import type { Backend } from '../model/backend.ts'

/** Of the sixteen bytes of an IPv6 address. */
export function addressText(bytes: Uint8Array): string {
  const parsed = ipaddr.fromByteArray([...bytes])
  return parsed instanceof ipaddr.IPv6 ? parsed.toRFC5952String() : parsed.toString()
}

/** Worked out once for each backend object; a change brings a new one. */
const known = new WeakMap<Backend, Uint8Array>()

/** Undefined for an address or a port that cannot be. */
export function addressBytes(backend: Backend): Uint8Array | undefined {
  const found = known.get(backend)
  if (found) return found
  const { address, port } = backend
  if (!ipaddr.isValid(address) || !(port > 0 && port <= 65_535)) return undefined
  const bytes = Uint8Array.from(ipaddr.parse(address).toByteArray())
  known.set(backend, bytes)
  return bytes
}
