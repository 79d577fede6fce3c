import type { Clock, Random } from '../../proxy/plugin.ts'
import { Window, type WindowOptions } from './window.ts'

export interface BreakerOptions extends WindowOptions {
  readonly restMs: number
  /** So many early closes in a row open it; 0 for never. */
  readonly earlyClose: number
}

/** How a dial ended, as far as the backend is to blame. */
export type Verdict = 'good' | 'bad' | 'neutral'

type State =
  | { readonly name: 'closed'; readonly window: Window }
  | { readonly name: 'open'; readonly until: number; readonly callOff: () => void }
  | { readonly name: 'half-open'; readonly window: Window; readonly trial: Trial | undefined }

interface Trial {
  readonly flow: number
  readonly callOff: () => void
}

/**
 * closed ─ too many bad ─▶ open ─ rest ─▶ half-open ─ trial good ─▶ closed
 *                           ▲────────────────┘ trial bad
 *
 * In half-open one flow passes, the trial; others do not until it has settled. A trial that blames nobody leaves the place
 * to the next, and so does one that has not settled after another rest. Only the trial is heard: what was dialled before the
 * breaker opened may end whenever it likes.
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
    const callOff = this.#clock.after(this.#options.restMs, () => this.#freePlace(flow))
    this.#become({ ...state, trial: { flow, callOff } })
  }

  /** A dial is over. */
  settle(flow: number, verdict: Verdict): void {
    const state = this.#state
    if (state.name === 'open') return
    if (state.name === 'half-open' && state.trial?.flow !== flow) return
    if (verdict === 'neutral') this.#freePlace(flow)
    else state.window.tell(verdict === 'good')
  }

  /** A flow that connected is over; `early` if the backend cut it before it said a word. */
  ended(early: boolean): void {
    this.#early = early ? this.#early + 1 : 0
    if (this.#options.earlyClose === 0 || this.#early < this.#options.earlyClose) return
    this.#early = 0
    if (this.#state.name === 'closed') this.#state.window.trip()
  }

  /** For status and explanations. */
  get words(): string {
    const state = this.#state
    if (state.name === 'closed') return 'closed'
    if (state.name === 'half-open')
      return state.trial ? 'half-open, its trial is under way' : 'half-open, waiting for a trial'
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

  /** Up to a tenth longer than asked for, so that the breakers of a cluster that went down do not all try at once. */
  #open(): void {
    this.#leave()
    const restMs = this.#options.restMs * (1 + this.#random() / 10)
    const callOff = this.#clock.after(restMs, () =>
      this.#become({ name: 'half-open', window: this.#window(true), trial: undefined }),
    )
    this.#become({ name: 'open', until: this.#clock.now() + restMs, callOff })
  }

  #close(): void {
    if (this.#state.name !== 'half-open') return
    this.#state.trial?.callOff()
    this.#become({ name: 'closed', window: this.#state.window })
  }

  #freePlace(flow: number): void {
    const state = this.#state
    if (state.name !== 'half-open' || state.trial?.flow !== flow) return
    state.trial.callOff()
    this.#become({ ...state, trial: undefined })
  }

  /** Ends what only this state needs. */
  #leave(): void {
    const state = this.#state
    if (state.name === 'open') state.callOff()
    else state.window.close()
    if (state.name === 'half-open') state.trial?.callOff()
  }

  #become(state: State): void {
    const before = this.#state.name
    this.#state = state
    this.#changed(state.name, before)
  }
}
