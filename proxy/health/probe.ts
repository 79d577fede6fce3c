/** The interface of a health check, and its result. */
import { messageOf } from '../model/error.ts'

export interface Probe {
  /** Never rejects. Settles within the timeout, whatever the other side does. */
  check(endpoint: CheckedEndpoint): Promise<CheckResult>
  /** Cancels all checks in flight; they settle at once. */
  destroy(): void
}

export interface CheckedEndpoint {
  /** The network of the address. Absent: the shared one, which is dialled directly. */
  readonly network?: string | undefined
  readonly address: string
  readonly port: number
  /** Whether it expects a header of the PROXY protocol. */
  readonly sendProxy?: boolean
}

/** `local`: a fault of this machine, such as EMFILE, which says nothing about the backend. */
export type CheckResult =
  | { readonly outcome: 'passed' }
  | {
      readonly outcome: 'failed' | 'local'
      readonly why: string
      /** Nothing has answered the SYN, as when the host is dead: no refusal, no handshake. */
      readonly unanswered?: true
    }

export const passed: CheckResult = { outcome: 'passed' }

export function failed(why: string): CheckResult {
  return { outcome: 'failed', why }
}

/** Thrown by a dial that nothing answers within the time of the check. */
export class Unanswered extends Error {}

/** The kernel has no answer from the host on the last link either. */
const unreachable = new Set(['EHOSTUNREACH', 'ETIMEDOUT'])
const localFaults = new Set(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM'])

export function resultOfError(thrown: unknown): CheckResult {
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : ''
  const why = messageOf(thrown)
  if (localFaults.has(code)) return { outcome: 'local', why }
  if (thrown instanceof Unanswered || unreachable.has(code)) return { outcome: 'failed', why, unanswered: true }
  return { outcome: 'failed', why }
}
