import type { Backend } from '../model/backend.ts'
import type { Flow, FlowObserver, Refusal, Result } from '../model/flow.ts'
import type { Log } from '../model/log.ts'
import type { Clock } from '../model/time/clock.ts'

/**
 * Says why a flow was refused, and which attempts failed. A refusal of one kind for one service is a line a second at most,
 * with the number of those that were not written, so that a flood of clients does not become a flood of lines.
 */
export function flowLog(log: Log, clock: Clock): Partial<FlowObserver> {
  const quiet = new Map<string, { until: number; left: number }>()
  return {
    refused(flow: Flow, { code, why }: Refusal): void {
      const key = `${flow.service.key} ${code}`
      const entry = quiet.get(key)
      if (entry && clock.now() < entry.until) {
        entry.left++
        return
      }
      if (quiet.size >= maxKinds) quiet.clear()
      quiet.set(key, { until: clock.now() + 1000, left: 0 })
      const more = entry && entry.left > 0 ? { unwritten: entry.left } : {}
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
      log.debug('flow.attempt', { flow: flow.id, backend: backend.key, outcome, ms, error: error?.message })
    },
  }
}

/** Services times codes; beyond it the memory of what was quiet starts anew. */
const maxKinds = 1000
