/** What an error of a socket call says of an attempt, for both engines and both protocols. */
import type { Refusal, Result } from '../../model/flow.ts'
import { refusal } from '../../model/refusal.ts'

/** The result of an attempt that failed. */
export type Failure = Exclude<Result, { outcome: 'connected' }>

/** What an error of connect(2) says of the backend. An unknown code counts as a fault of the path to it. */
export function outcomeOf(error: Error): Failure['outcome'] {
  return outcomes[codeOf(error)] ?? 'unreachable'
}

/** Whether this machine has run out of something that another backend would need as well. */
export function isExhausted(error: Error | undefined): boolean {
  return error !== undefined && exhausted.has(codeOf(error))
}

/** Refuses a flow when no further attempt could succeed; `error` is one of {@link isExhausted}. */
export function outOfResources(error: Error): Refusal {
  return refusal('limit', `this machine has run out of resources: ${error.message}`)
}

/** What a client is refused with, or a link fails with, when no descriptor is left for it. */
export function noDescriptor(): Error {
  const message = 'no file descriptor is left; raise the limit: `ulimit -n`, or LimitNOFILE of the systemd unit'
  return outcomeError('EMFILE', message)
}

/** An error with the name of an errno, as those of node:net have it. */
export function outcomeError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

/** The name of the errno, such as `ECONNREFUSED`; empty when the error has none. */
export function codeOf(error: Error): string {
  return 'code' in error ? String(error.code) : ''
}

const outcomes: Readonly<Record<string, Failure['outcome']>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'refused',
  ETIMEDOUT: 'timeout',
  EADDRNOTAVAIL: 'local',
  EADDRINUSE: 'local',
  ELOOP: 'local',
  EMFILE: 'local',
  ENFILE: 'local',
  ENOBUFS: 'local',
  ENOMEM: 'local',
}

/** Without EADDRNOTAVAIL: the ports towards one backend may be used up while those towards another are free. */
const exhausted: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM'])
