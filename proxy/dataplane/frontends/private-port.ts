/** The port that a frontend's listener has where clients are redirected to it. */
import type { Frontend } from '../../model/service.ts'

/** Above the ports that Linux gives to clients by default, net.ipv4.ip_local_port_range. */
const first = 61_000
const count = 4500

/**
 * The same in every process, so that a UDP client whose packets the kernel goes on translating finds the next Starlane.
 * `attempt` counts from 0: the next port when that one is taken.
 */
export function privatePort({ key }: Frontend, attempt: number): number {
  let hash = 0x811c9dc5 // FNV-1a
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193)
  return first + (((hash >>> 0) + attempt) % count)
}
