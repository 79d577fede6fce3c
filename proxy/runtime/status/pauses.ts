/** How long the event loop has stood still, as Node measures it, and how long its thread had no processor, as the kernel counts it. */
import { readFileSync } from 'node:fs'
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
    starved: starvedMs,
    close: () => void delays.disable(),
  }
}

/** The second field of /proc/self/schedstat: nanoseconds in which it could run, and did not. Kernels without it: 0. */
function starvedMs(): number {
  try {
    return Number(readFileSync('/proc/self/schedstat', 'utf8').split(' ')[1]) / 1e6
  } catch {
    return 0
  }
}
