/** Ends many flows over a span of time. */
import type { Clock } from '../../model/time/clock.ts'

/** The last part of the drain time, over which the closes are spread. */
const spreadPart = 0.2
const steps = 60

/**
 * Lets flows go on for `ms` and cuts what is left evenly over the last fifth of that time, so that clients which reconnect
 * at once do not all come at the same moment.
 */
export function drain<F>(flows: readonly F[], ms: number, after: Clock['after'], cut: (flow: F) => void): void {
  let next = 0
  let step = 0
  after(ms * (1 - spreadPart), cutSome)

  function cutSome(): void {
    const upTo = Math.ceil((flows.length * step) / steps)
    for (; next < upTo; next++) cut(flows[next] as F)
    step++
    if (next < flows.length) after((ms * spreadPart) / steps, cutSome)
  }
}
