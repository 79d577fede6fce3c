/** Why a flow is refused: the codes that are Starlane's own, beside which each plugin refuses under its name. */
import type { Refusal } from './flow.ts'

/** What each code means. `docs/errors.md` is written from this table. No plugin may bear such a name. */
export const refusalCodes = {
  'no-backend': 'the service has no usable backend, or as many attempts failed as a flow may make',
  limit: 'a limit of `proxy.limits`, or of this machine (descriptors, ports, memory), is reached',
  loop: 'the flow goes round: the source of a datagram is a UDP frontend of Starlane, or another proxy sends it back here',
  foreign: 'the client is not of this node, and the listeners of `proxy.offload` serve only its programs and pods',
  draining: 'Starlane is stopping, or the flow was ended before any backend answered',
} as const

export type RefusalCode = keyof typeof refusalCodes

/** A refusal by Starlane itself. `why` is a sentence for the log and for `starlane explain`. */
export function refusal(code: RefusalCode, why: string): Refusal {
  return { code, why }
}
