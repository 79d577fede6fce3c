/**
 * A socket connected to itself: the kernel has given it the very port that it was to reach, which is possible where nobody
 * listens there, and takes its own packets for those of a peer (TCP: the simultaneous open of RFC 9293, 3.5).
 */
import type { Backend } from '../../model/backend.ts'

/** Whether a socket with this local port and address, connected to the backend, is its own peer. */
export function meetsItself(port: number | undefined, address: string | undefined, backend: Backend): boolean {
  return port === backend.port && address === backend.address
}

/** What a dial fails with, as if the port had refused. */
export function refusedByItself({ key }: Backend): Error {
  return Object.assign(new Error(`connect ECONNREFUSED: ${key} was the socket itself`), { code: 'ECONNREFUSED' })
}
