/** What a UDP session decides in the same way whichever engine moves its datagrams. */
import type { Backend } from '../../model/backend.ts'
import type { Choice, CloseReason, Flow, Refusal } from '../../model/flow.ts'
import { refusal } from '../../model/refusal.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import { isExhausted, outcomeOf } from '../streams/dial.ts'
import type { FlowContext, ListenerState } from './flow-context.ts'

/** While the engine drains, a session this long quiet has ended. */
const drainingIdleMs = 1000

/** How long a session may be quiet now; 0 for ever. */
export function quietLimitMs({ draining, options: { idle } }: FlowContext): number {
  return draining ? Math.min(idle.udpMs || drainingIdleMs, drainingIdleMs) : idle.udpMs
}

interface Trying extends Flow {
  readonly listener: ListenerState
  frontend: Frontend
  service: GlobalService
  tried: readonly string[]
}

/** Where the session goes next, by what its frontend is now; a refusal when as many have failed as may be tried. */
export function nextChoice(session: Trying, { chooser, options }: FlowContext): Choice {
  session.frontend = session.listener.frontend
  session.service = session.listener.service
  const { tried } = session
  if (tried.length < options.dial.attempts) return chooser.choose(session)
  return { refusal: refusal('no-backend', `${tried.length} attempts failed, the last one: ${tried.at(-1)}`) }
}

/** Notes the backend as tried, and says why the session is over; undefined when it may try the next one. */
export function noteUdpFailure(
  session: Trying,
  backend: Backend,
  error: Error,
  context: FlowContext,
): Refusal | undefined {
  session.tried = [...session.tried, backend.key]
  if (outcomeOf(error) === 'local') context.localFault(error)
  if (!isExhausted(error)) return undefined
  return refusal('limit', `this machine has run out of resources: ${error.message}`)
}

export const madeRoom: Refusal = refusal('limit', 'made room for a newer session before any reply')

export function endedUnanswered(reason: CloseReason): Refusal {
  return refusal('draining', `ended before any reply: ${reason}`)
}
