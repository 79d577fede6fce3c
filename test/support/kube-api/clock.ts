/** Clocks on real time that run faster, or whose wall clock can jump. */
import type { Clock } from '../../../proxy/model/time/clock.ts'

/** Like {@link hasty}, with a wall clock that can be set forward and back. */
export function jumpy(factor: number): Clock & { jump(ms: number): void } {
  let offset = 0
  return {
    ...hasty(factor),
    wall: () => Date.now() + offset,
    jump: ms => {
      offset += ms
    },
  }
}

/** Real time, sped up by a factor, so that back-offs are short and keep their proportions. */
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
