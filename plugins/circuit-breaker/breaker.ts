/** The state machine of the breaker of one backend. */
import {
  type Clock,
  EarlyResets,
  isEarlyReset,
  type Random,
  type RecentClients,
  type Totals,
} from '../../proxy/plugin.ts'
import { Window, type WindowOptions } from './window.ts'

export interface BreakerOptions extends WindowOptions {
  readonly restMs: number
  /** This many early closes in a row, of as many clients, open it; 0 for never. */
  readonly earlyClose: number
}

/** How the result of a dial counts for the backend; `neutral` does not count. */
export type DialScore = 'good' | 'bad' | 'neutral'

type State =
  | { readonly name: 'closed'; readonly window: Window }
  | { readonly name: 'open'; readonly until: number; readonly cancel: () => void }
  | { readonly name: 'half-open'; readonly window: Window; readonly trial: Trial | undefined }

/** Why a breaker is open. `accuser`: the only client, if the flows of no other opened it. */
interface Cause {
  readonly why: string
  readonly accuser?: string | undefined
}

const failedDials: Cause = { why: 'too many dials failed' }
const failedTrial: Cause = { why: 'the trial failed' }

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
 *
 * Dials of all clients count alike. Early closes count by clients; if they are all of the only client, the breaker stands only
 * until there is another one.
 */
export class Breaker {
  #options: BreakerOptions
  #clock: Clock
  #random: Random
  #changed: (now: State['name'], before: State['name']) => void
  #state: State
  #resets: EarlyResets
  /** Set just before early closes open it. */
  #accusation: Cause | undefined
  #cause: Cause = failedDials

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
    this.#resets = new EarlyResets(options.earlyClose)
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

  /** A connected flow of this client ended. One that neither got a byte nor was reset says nothing. */
  ended(client: string, totals: Totals, recent: RecentClients): void {
    if (this.#options.earlyClose === 0) return
    if (totals.received > 0) return this.#resets.clear()
    if (!isEarlyReset(totals) || !this.#resets.add(client, recent) || this.#state.name !== 'closed') return
    this.#accusation = { why: this.#resets.text, accuser: this.#resets.onlyClient }
    this.#resets.clear()
    this.#state.window.trip()
  }

  /** The client whose flows alone opened it, if it was so. It is not open for others. */
  get accuser(): string | undefined {
    return this.#state.name === 'closed' ? undefined : this.#cause.accuser
  }

  /** Closes it if one client alone opened it: there is another one now. */
  acquit(): void {
    if (this.accuser === undefined) return
    this.#leave()
    this.#become({ name: 'closed', window: this.#window(false) })
  }

  /** Why it opened last. */
  get why(): string {
    return this.#cause.why
  }

  /** For status and explanations. */
  get description(): string {
    const { name } = this.#state
    return name === 'closed' ? name : name === 'open' ? `open ${this.rest}` : `half-open, ${this.rest}`
  }

  /** What it waits for, if it is not closed. */
  get rest(): string {
    const state = this.#state
    if (state.name !== 'open')
      return state.name === 'half-open' && state.trial ? 'trial in progress' : 'waiting for a trial'
    return `for ${Math.ceil(Math.max(0, state.until - this.#clock.now()) / 1000)} s more`
  }

  /** How long an open one rests still; undefined if it is not open. */
  get restMs(): number | undefined {
    return this.#state.name === 'open' ? Math.max(0, this.#state.until - this.#clock.now()) : undefined
  }

  /** Open for the rest of a time that began in another process. */
  reopen(restMs: number, why: string): void {
    this.#leave()
    this.#cause = { why }
    this.#restFor(Math.min(restMs, this.#options.restMs * 1.1))
  }

  /** The options have changed. State and counts are kept; a rest or a trial that has begun lasts as long as it was to. */
  configure(): void {
    this.#resets.setLimit(this.#options.earlyClose)
    if (this.#state.name !== 'open') this.#state.window.configure(this.#options)
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
    this.#cause = this.#accusation ?? (this.#state.name === 'half-open' ? failedTrial : failedDials)
    this.#accusation = undefined
    this.#restFor(this.#options.restMs * (1 + this.#random() / 10))
  }

  #restFor(restMs: number): void {
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
