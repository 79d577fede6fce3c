import type { Backend } from '../../model/backend.ts'
import type { Refusal, Result } from '../../model/flow.ts'
import { refusal } from '../../model/refusal.ts'
import { isExhausted } from '../streams/dial.ts'
import type { FlowContext } from './flow-context.ts'

export type Failure = Exclude<Result, { outcome: 'connected' }>

/**
 * An attempt of a TCP flow has failed, whichever engine made it: notes the backend as tried, and says why the flow is over;
 * undefined when it may try the next one. `deadline` is by the context's clock.
 */
export function noteFailure(
  flow: { tried: readonly string[] },
  backend: Backend,
  result: Failure,
  deadline: number,
  context: FlowContext,
): Refusal | undefined {
  const { clock, options } = context
  if (result.outcome === 'local' && result.error) context.localFault(result.error)
  if (isExhausted(result.error)) {
    return refusal('limit', `this machine has run out of resources: ${result.error?.message}`)
  }
  flow.tried = [...flow.tried, backend.key]
  if (flow.tried.length < options.dial.attempts && clock.now() < deadline) return undefined
  const ways = flow.tried.length === 1 ? '1 attempt' : `${flow.tried.length} attempts`
  return refusal('no-backend', `${ways} failed, the last one: ${backend.key} ${result.outcome}`)
}
