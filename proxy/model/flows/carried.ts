/** Tells observers the bytes of a flow while it is open, so that none is counted twice. */
import type { Backend } from '../backend.ts'
import type { Bytes, Flow, FlowObserver } from '../flow.ts'

/** Returns what has been told of the flow until now; `before` is what the last call has returned. */
export function tellCarried(
  observer: Pick<FlowObserver, 'carried'>,
  flow: Flow,
  backend: Backend,
  { sent, received }: Bytes,
  before: Bytes | undefined,
): Bytes | undefined {
  const more = { sent: sent - (before?.sent ?? 0), received: received - (before?.received ?? 0) }
  if (more.sent === 0 && more.received === 0) return before
  const total = { sent, received }
  observer.carried(flow, backend, total, more)
  return total
}
