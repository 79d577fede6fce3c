/** The clock is passed in, so that tests can move it by hand. */
// The global of this name is looked up by an accessor at each use.
import { performance } from 'node:perf_hooks'

export interface Clock {
  /** Monotonic milliseconds: for durations and deadlines. */
  now(): number
  /** Milliseconds since 1970: for people, and for protocols that contain dates. */
  wall(): number
  /**
   * Runs once after `ms`; the returned function cancels it. Does not keep the process alive. When this thread was busy at that time, waiting
   * sockets are served before: an answer that came meanwhile is not taken for one that did not come.
   */
  after(ms: number, run: () => void): () => void
  /** Runs every `ms` until cancelled. Does not keep the process alive. */
  every(ms: number, run: () => void): () => void
}

/** Beyond the resolution of timers. */
const lateMs = 5

/** The time that stands; negative while it passes. */
let heldAt = -1

/**
 * The system's clock stands still until {@link releaseTime}: events that are taken in a row happen at one time, and none of them reads
 * it anew. Called again, it stands at the time of then. Timers go on.
 */
export function holdTime(): void {
  heldAt = performance.now()
}

export function releaseTime(): void {
  heldAt = -1
}

export const systemClock: Clock = {
  now: () => (heldAt < 0 ? performance.now() : heldAt),
  wall: () => Date.now(),
  after: (ms, run) => {
    const due = performance.now() + ms
    let turn: NodeJS.Immediate | undefined
    const timer = setTimeout(() => {
      if (performance.now() - due < lateMs) run()
      else turn = setImmediate(run)
    }, ms).unref()
    return () => {
      clearTimeout(timer)
      clearImmediate(turn)
    }
  },
  every: (ms, run) => {
    const timer = setInterval(run, ms).unref()
    return () => clearInterval(timer)
  },
}

/** A number in [0, 1). Passed in like the clock. */
export type Random = () => number
