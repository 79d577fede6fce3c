/** Logs refused flows, failed dials, and connections that we have ended. */
import type { Backend } from '../../model/backend.ts'
import type { CloseReason, Flow, FlowObserver, Refusal, Result, Totals } from '../../model/flow.ts'
import type { Log, LogFields } from '../../model/log.ts'
import type { Clock } from '../../model/time/clock.ts'

/**
 * Refusals with the same service and code, and ends with the same service and reason, are logged at most once a second, with the
 * number of lines suppressed, so that many clients do not flood the log.
 */
export function flowLog(log: Log, clock: Clock): Partial<FlowObserver> {
  const limited = new Map<string, { until: number; suppressed: number }>()
  return {
    refused(flow: Flow, { code, why }: Refusal): void {
      const more = due(`${flow.service.key} ${code}`)
      if (!more) return
      const { frontend, client, tried } = flow
      log.warn('flow.refused', {
        flow: flow.id,
        frontend: frontend.key,
        client: client.address,
        code,
        why,
        tried,
        ...more,
      })
    },
    result(flow: Flow, backend: Backend, result: Result): void {
      if (result.outcome === 'connected' || result.outcome === 'cancelled') return
      const { outcome, ms, error } = result
      log.debug('flow.dial-failed', { flow: flow.id, backend: backend.key, outcome, ms, error: error?.message })
    },
    closed(flow: Flow, backend: Backend, { reason, sent, received, ms }: Totals): void {
      // A UDP session has no end but ours, and most are ordinary.
      if (reason === 'done' || ends[reason] === 'theirs' || (flow.frontend.protocol === 'UDP' && reason !== 'evicted'))
        return
      const more = due(`${flow.service.key} ${reason}`)
      if (!more) return
      log.info('flow.cut', {
        flow: flow.id,
        frontend: flow.frontend.key,
        client: flow.client.address,
        backend: backend.key,
        reason,
        sent,
        received,
        ms,
        ...more,
      })
    },
  }

  /** What to add to the line; undefined when it is to be left out. */
  function due(key: string): LogFields | undefined {
    const entry = limited.get(key)
    if (entry && clock.now() < entry.until) {
      entry.suppressed++
      return undefined
    }
    if (limited.size >= maxKinds) limited.clear()
    limited.set(key, { until: clock.now() + 1000, suppressed: 0 })
    return entry && entry.suppressed > 0 ? { suppressed: entry.suppressed } : {}
  }
}

/** Whose decision the end of a TCP connection is. */
const ends: Readonly<Record<CloseReason, 'theirs' | 'ours'>> = {
  done: 'theirs',
  'client-reset': 'theirs',
  'backend-reset': 'theirs',
  idle: 'ours',
  'half-closed': 'ours',
  drained: 'ours',
  'backend-lost': 'ours',
  removed: 'ours',
  evicted: 'ours',
  passed: 'ours',
  shutdown: 'ours',
}

/** Pairs of service and code or reason that are remembered; beyond that, all are forgotten. */
const maxKinds = 1000
