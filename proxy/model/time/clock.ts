/** Time is passed in, so that tests move it by hand. */
export interface Clock {
  /** Milliseconds that only grow: for durations and deadlines. */
  now(): number
  /** Milliseconds since 1970: for people and for protocols that print dates. */
  wall(): number
  /** Runs once after `ms`; the returned function calls it off. Does not keep the process alive. */
  after(ms: number, run: () => void): () => void
  /** Runs every `ms` until called off. Does not keep the process alive. */
  every(ms: number, run: () => void): () => void
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms).unref()
    return () => clearTimeout(timer)
  },
  every: (ms, run) => {
    const timer = setInterval(run, ms).unref()
    return () => clearInterval(timer)
  },
}

/** A number in [0, 1), passed in like the clock. */
export type Random = () => number
