/**
 * Records flows as they are connected, refused and closed, and DNS questions as they are answered, into two rings in memory. A
 * flow has one record: it is written when the first attempt has a result, and completed when the flow ends, so a long connection
 * can be seen while it is open. A UDP session that moves has a record for each backend that answered it.
 *
 * This runs for each flow: it allocates nothing but for a reader that follows. `bench/recorder-cost.ts` measures it.
 */
import type { Backend } from '../model/backend.ts'
import type { Bytes, Flow, FlowObserver, Refusal, Result, Totals } from '../model/flow.ts'
import type { Question, QuestionRecorder } from '../model/flows/question.ts'
import type { Clock } from '../model/time/clock.ts'
import { FlowRing } from './flow-ring.ts'
import { QuestionRing } from './question-ring.ts'
import { Sampler } from './sampler.ts'
import { Touched } from './touched.ts'

export interface RecorderOptions {
  /** Records of flows, and as many of questions, rounded up to a power of two; 0 records nothing. */
  readonly size: number
  /** Records a second; of flows that failed and of questions as many again. */
  readonly rate: number
  readonly questions: boolean
}

/** Of a flow, the number of its record: none yet, or left out by the sampler. */
const none = 0
const skipped = -1

/** Engines keep the number in the flow itself, which is faster than a map. */
interface Recorded extends Flow {
  record?: number
}

/** Refusals with the same words are kept once. Beyond so many, all are forgotten. */
const maxRefusals = 512

export class Recorder implements Omit<FlowObserver, 'connecting'>, QuestionRecorder {
  readonly flows: FlowRing
  readonly questions: QuestionRing
  /** Numbers of records that are new or have changed, for readers that follow. */
  readonly touchedFlows = new Touched()
  /** Of open flows whose bytes have changed. */
  readonly touchedBytes = new Touched()
  readonly touchedQuestions = new Touched()
  readonly #clock: Clock
  readonly #good: Sampler
  readonly #bad: Sampler
  readonly #asked: Sampler
  readonly #refusals = new Map<string, Refusal>()
  #recordsQuestions: boolean

  constructor({ size, rate, questions }: RecorderOptions, clock: Clock) {
    this.flows = new FlowRing(size)
    this.questions = new QuestionRing(questions ? size : 2)
    this.#recordsQuestions = questions
    this.#clock = clock
    this.#good = new Sampler(rate)
    this.#bad = new Sampler(rate)
    this.#asked = new Sampler(rate)
  }

  /** Flows and questions without a record, since there were too many at a time. */
  get skipped(): { readonly flows: number; readonly questions: number } {
    return { flows: this.#good.skipped + this.#bad.skipped, questions: this.#asked.skipped }
  }

  setRate(rate: number): void {
    for (const sampler of [this.#good, this.#bad, this.#asked]) sampler.setRate(rate)
  }

  result(flow: Recorded, backend: Backend, { outcome, ms }: Result): void {
    const sampler = outcome === 'connected' ? this.#good : this.#bad
    const record = this.#recordOf(flow, sampler, ms)
    if (record === skipped) return
    this.flows.attempt(record, backend.key, flow.tried.length + 1, outcome, ms)
    if (this.touchedFlows.followed) this.touchedFlows.add(record)
  }

  /** Without a record, because it was left out or has been overwritten, nothing is noted until the flow ends. */
  carried(flow: Recorded, _backend: Backend, { sent, received }: Bytes): void {
    const record = flow.record ?? none
    if (!this.flows.has(record)) return
    this.flows.carry(record, sent, received)
    if (this.touchedBytes.followed) this.touchedBytes.add(record)
  }

  /** A record that has been overwritten since the flow was connected is made anew. */
  closed(flow: Recorded, backend: Backend, { sent, received, ms, reason }: Totals): void {
    const known = flow.record
    const record = this.#recordOf(flow, this.#good, ms)
    flow.record = none
    if (record === skipped) return
    if (record !== known) this.flows.attempt(record, backend.key, flow.tried.length + 1, 'connected', 0)
    this.flows.end(record, sent, received, ms, reason)
    if (this.touchedFlows.followed) this.touchedFlows.add(record)
  }

  refused(flow: Recorded, refusal: Refusal): void {
    const record = this.#recordOf(flow, this.#bad, 0)
    flow.record = none
    if (record === skipped) return
    this.flows.refuse(record, this.#shared(refusal))
    if (this.touchedFlows.followed) this.touchedFlows.add(record)
  }

  wants(now: number): boolean {
    return this.#recordsQuestions && this.#asked.take(now)
  }

  question(question: Question): void {
    const record = this.questions.add(question)
    if (this.touchedQuestions.followed) this.touchedQuestions.add(record)
  }

  /** The record of the flow; a new one, which begins `ms` ago, if it has none. */
  #recordOf(flow: Recorded, sampler: Sampler, ms: number): number {
    const record = flow.record ?? none
    if (record === skipped || this.flows.has(record)) return record
    const now = this.#clock.now()
    flow.record = sampler.take(now) ? this.flows.claim(flow, now - ms) : skipped
    return flow.record
  }

  #shared(refusal: Refusal): Refusal {
    const known = this.#refusals.get(refusal.why)
    if (known && known.code === refusal.code && known.rule === refusal.rule) return known
    if (this.#refusals.size >= maxRefusals) this.#refusals.clear()
    this.#refusals.set(refusal.why, refusal)
    return refusal
  }
}
