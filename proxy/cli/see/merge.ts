/** Puts the flows of several processes in the order of their times. */
import type { FlowEvent } from '../../model/flow-record.ts'
import type { Clock } from '../../model/time/clock.ts'

export function byTime(events: readonly FlowEvent[]): FlowEvent[] {
  return events.toSorted((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0))
}

/** How long an event waits for older ones of other processes. */
const waitMs = 500

/** Holds events back for a moment, so that what comes late from one process is not behind what is younger of another. */
export class TimeMerger {
  readonly #clock: Clock
  readonly #push: (events: readonly FlowEvent[]) => void
  #held: { readonly event: FlowEvent; readonly at: number }[] = []
  readonly #stop: () => void

  constructor(clock: Clock, push: (events: readonly FlowEvent[]) => void) {
    this.#clock = clock
    this.#push = push
    this.#stop = clock.every(waitMs / 2, () => this.#release(clock.now() - waitMs))
  }

  add(events: readonly FlowEvent[]): void {
    const at = this.#clock.now()
    for (const event of events) this.#held.push({ event, at })
  }

  /** Releases what is held. */
  close(): void {
    this.#stop()
    this.#release(Number.POSITIVE_INFINITY)
  }

  #release(until: number): void {
    const due = this.#held.filter(({ at }) => at <= until)
    if (due.length === 0) return
    this.#held = this.#held.filter(({ at }) => at > until)
    this.#push(byTime(due.map(({ event }) => event)))
  }
}
