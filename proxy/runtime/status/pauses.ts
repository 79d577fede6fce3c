/** How long the event loop has stood still, as Node measures it. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Pauses } from '../../chain/slow-hooks.ts'

const resolution = 20

export function eventLoopPauses(): Pauses {
  const delays = monitorEventLoopDelay({ resolution })
  delays.enable()
  return {
    longest: () => {
      const ms = delays.max / 1e6
      delays.reset()
      return ms
    },
    close: () => void delays.disable(),
  }
}
