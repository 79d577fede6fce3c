/** Logs refused flows and failed dials. */
import type { Backend } from '../model/backend.ts'
import type { Flow, FlowObserver, Refusal, Result } from '../model/flow.ts'
import type { Log } from '../model/log.ts'
import type { Clock } from '../model/time/clock.ts'

/**
 * Refusals with the same service and code are logged at most once a second, with the number of lines suppressed, so that many
 * clients do not flood the log.
 */
export function flowLog(log: Log, clock: Clock): Partial<FlowObserver> {
  const limited = new Map<string, { until: number; suppressed: number }>()
  return {
    refused(flow: Flow, { code, why }: Refusal): void {
      const key = `${flow.service.key} ${code}`
      const entry = limited.get(key)
      if (entry && clock.now() < entry.until) {
        entry.suppressed++
        return
      }
      if (limited.size >= maxKinds) limited.clear()
      limited.set(key, { until: clock.now() + 1000, suppressed: 0 })
      const more = entry && entry.suppressed > 0 ? { suppressed: entry.suppressed } : {}
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
  }
}

/** Pairs of service and code that are remembered; beyond that, all are forgotten. */
const maxKinds = 1000
