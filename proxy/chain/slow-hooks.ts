/**
 * Names hooks that hold up the whole process. Hooks are timed only for a while after the process has stood still, so that a decision costs
 * nothing otherwise: a hook is named from the second time on.
 */
import { type Clock, releaseTime } from '../model/time/clock.ts'

/** How long the process has stood still. */
export interface Pauses {
  /** The longest pause since the last call, in milliseconds. */
  longest(): number
  /** How long it has had no processor since its start, in milliseconds; 0 where that is not known. */
  starved(): number
  close(): void
}

export interface SlowHooksParts {
  /** Undefined: hooks are never timed. */
  readonly pauses: Pauses | undefined
  readonly clock: Clock
  readonly report: (plugin: string, hook: string, ms: number) => void
}

/** A hook that takes so long is named. */
const slowMs = 100
const lookMs = 1000
/** How long hooks are timed after a pause. */
const timingMs = 60_000

export class SlowHooks {
  /** Whether each call is to be made by {@link timed}. */
  isTiming = false
  readonly #parts: SlowHooksParts
  readonly #stop: () => void
  #until = 0
  /** At the last look. */
  #starved: number

  constructor(parts: SlowHooksParts) {
    this.#parts = parts
    this.#starved = parts.pauses?.starved() ?? 0
    this.#stop = parts.pauses ? parts.clock.every(lookMs, () => this.#look()) : () => {}
  }

  /** Calls a hook. What it throws is thrown. Takes the arguments one by one: a closure over them would cost every call. */
  timed<A, B, C>(
    { name, hook }: { readonly name: string; readonly hook: string },
    call: (a: A, b: B, c: C) => unknown,
    a: A,
    b: B,
    c: C,
  ): unknown {
    const { clock, report } = this.#parts
    // Else all that one event causes happens at one time.
    releaseTime()
    const since = clock.now()
    try {
      return call(a, b, c)
    } finally {
      const ms = clock.now() - since
      if (ms >= slowMs && ms - this.#starvedNow() >= slowMs) report(name, hook, ms)
    }
  }

  close(): void {
    this.#stop()
    this.#parts.pauses?.close()
  }

  /** Since the last look, and so in the hook at most: on a busy machine it is not the plugin that takes the time. */
  #starvedNow(): number {
    return (this.#parts.pauses?.starved() ?? 0) - this.#starved
  }

  #look(): void {
    const { clock, pauses } = this.#parts
    this.#starved = pauses?.starved() ?? 0
    const now = clock.now()
    if ((pauses?.longest() ?? 0) >= slowMs) this.#until = now + timingMs
    this.isTiming = now < this.#until
  }
}
