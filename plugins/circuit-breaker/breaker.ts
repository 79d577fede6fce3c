/** The state machine of the breaker of one backend. */
import type { Clock, Random } from '../../proxy/plugin.ts'
import { Window, type WindowOptions } from './window.ts'

export interface BreakerOptions extends WindowOptions {
  readonly restMs: number
  /** This many early closes in a row open it; 0 for never. */
  readonly earlyClose: number
}

/** How the result of a dial counts for the backend; `neutral` does not count. */
export type DialScore = 'good' | 'bad' | 'neutral'

type State =
  | { readonly name: 'closed'; readonly window: Window }
  | { readonly name: 'open'; readonly until: number; readonly cancel: () => void }
  | { readonly name: 'half-open'; readonly window: Window; readonly trial: Trial | undefined }

interface Trial {
  readonly flow: number
  readonly cancel: () => void
}

/**
 * closed ─ too many bad ─▶ open ─ rest ─▶ half-open ─ trial good ─▶ closed
 *                           ▲────────────────┘ trial bad
 *
 * In half-open one flow may pass, the trial, and no other until it has settled. After a neutral trial, or one that has not
 * settled after another rest, the next flow becomes the trial. In half-open only the result of the trial counts, not those of
 * dials that began before the breaker opened.
 */
export class Breaker {
  #options: BreakerOptions
  #clock: Clock
  #random: Random
  #changed: (now: State['name'], before: State['name']) => void
  #state: State
  #early = 0

  constructor(
    options: BreakerOptions,
    clock: Clock,
    random: Random,
    changed: (now: State['name'], before: State['name']) => void,
  ) {
    this.#options = options
    this.#clock = clock
    this.#random = random
    this.#changed = changed
    this.#state = { name: 'closed', window: this.#window(false) }
  }

  get state(): State['name'] {
    return this.#state.name
  }

  /** Whether a new flow may go there. */
  get passes(): boolean {
    return this.#state.name === 'closed' || (this.#state.name === 'half-open' && this.#state.trial === undefined)
  }

  /** A dial begins. */
  begin(flow: number): void {
    const state = this.#state
    if (state.name !== 'half-open' || state.trial !== undefined) return
    const cancel = this.#clock.after(this.#options.restMs, () => this.#endTrial(flow))
    this.#become({ ...state, trial: { flow, cancel } })
  }

  /** A dial is over. */
  settle(flow: number, score: DialScore): void {
    const state = this.#state
    if (state.name === 'open') return
    if (state.name === 'half-open' && state.trial?.flow !== flow) return
    if (score === 'neutral') this.#endTrial(flow)
    else state.window.record(score === 'good')
  }

  /** A connected flow ended; `early` if the backend reset it before it sent a byte. */
  ended(early: boolean): void {
    this.#early = early ? this.#early + 1 : 0
    if (this.#options.earlyClose === 0 || this.#early < this.#options.earlyClose) return
    this.#early = 0
    if (this.#state.name === 'closed') this.#state.window.trip()
  }

  /** For status and explanations. */
  get description(): string {
    const state = this.#state
    if (state.name === 'closed') return 'closed'
    if (state.name === 'half-open')
      return state.trial ? 'half-open, trial in progress' : 'half-open, waiting for a trial'
    return `open for ${Math.ceil(Math.max(0, state.until - this.#clock.now()) / 1000)} s more`
  }

  close(): void {
    this.#leave()
  }

  #window(trial: boolean): Window {
    return new Window(this.#options, this.#clock, {
      trial,
      opened: () => this.#open(),
      closed: () => this.#close(),
    })
  }

  /** Rests up to a tenth longer than configured, so that the breakers of a failed cluster do not all try at once. */
  #open(): void {
    this.#leave()
    const restMs = this.#options.restMs * (1 + this.#random() / 10)
    const cancel = this.#clock.after(restMs, () =>
      this.#become({ name: 'half-open', window: this.#window(true), trial: undefined }),
    )
    this.#become({ name: 'open', until: this.#clock.now() + restMs, cancel })
  }

  #close(): void {
    if (this.#state.name !== 'half-open') return
    this.#state.trial?.cancel()
    this.#become({ name: 'closed', window: this.#state.window })
  }

  #endTrial(flow: number): void {
    const state = this.#state
    if (state.name !== 'half-open' || state.trial?.flow !== flow) return
    state.trial.cancel()
    this.#become({ ...state, trial: undefined })
  }

  /** Releases the timers and the window of the current state. */
  #leave(): void {
    const state = this.#state
    if (state.name === 'open') state.cancel()
    else state.window.close()
    if (state.name === 'half-open') state.trial?.cancel()
  }

  #become(state: State): void {
    const before = this.#state.name
    this.#state = state
    this.#changed(state.name, before)
  }
}
