import type { Clock } from '../../../proxy/model/clock.ts'

/** Real time that passes faster, so that back-offs are short and still in proportion. */
export function hasty(factor: number): Clock {
  return {
    now: () => performance.now() * factor,
    wall: () => Date.now(),
    after: (ms, run) => {
      const timer = setTimeout(run, ms / factor)
      return () => clearTimeout(timer)
    },
    every: (ms, run) => {
      const timer = setInterval(run, ms / factor)
      return () => clearInterval(timer)
    },
  }
}
