/** What a check of one address can find. */
import { messageOf } from '../model/error.ts'

export interface Probe {
  /** Settles within the check's timeout, whatever the other side does. */
  check(endpoint: CheckedEndpoint): Promise<Finding>
  /** Cuts all checks in flight; they settle at once. */
  destroy(): void
}

export interface CheckedEndpoint {
  readonly address: string
  readonly port: number
}

/** `local`: a fault of this machine, which says nothing about the other one. */
export type Finding = { readonly outcome: 'passed' } | { readonly outcome: 'failed' | 'local'; readonly why: string }

export const passed: Finding = { outcome: 'passed' }

export function failed(why: string): Finding {
  return { outcome: 'failed', why }
}

const localFaults = new Set(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM'])

export function findingOf(thrown: unknown): Finding {
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : ''
  return { outcome: localFaults.has(code) ? 'local' : 'failed', why: messageOf(thrown) }
}
