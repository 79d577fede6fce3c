/** A chooser for tests of engines: scripted choices, a record of every flow, and a check of the FlowObserver contract. */
import { type Backend, type Backends, select } from '../../proxy/model/backend.ts'
import type { Bytes, Choice, Chooser, Flow, Refusal, Result, Totals } from '../../proxy/model/flow.ts'

/** Everything an engine reported of one flow. */
export interface Story {
  readonly flow: Flow
  readonly attempts: { readonly backend: Backend; result?: Result; carried?: Bytes; totals?: Totals }[]
  refusal?: Refusal
}

/**
 * Chooses the untried backends of the frontend in turn, unless `decide` is set. Records every flow in `stories`, and every
 * violation of the `FlowObserver` contract in `broken`.
 */
export class FakeChooser implements Chooser {
  readonly stories: Story[] = []
  readonly broken: string[] = []
  /** Overrides the choice. */
  decide: ((flow: Flow) => Choice) | undefined
  readonly #byFlow = new Map<Flow, Story>()
  readonly #ids = new Set<number>()
  #turn = 0

  admit(): undefined {}

  choose(flow: Flow): Choice {
    this.#story(flow)
    if (this.decide) return this.decide(flow)
    const left = select(flow.frontend.backends.filter(backend => !flow.tried.includes(backend.key)))
    const backend = left[this.#turn++ % left.length]
    return backend ? { backend } : { refusal: { code: 'no-backend', why: 'no backend is left' } }
  }

  visible(): Backends {
    return []
  }

  settled(): undefined {}

  connecting(flow: Flow, backend: Backend): void {
    const { attempts, refusal } = this.#story(flow)
    const last = attempts.at(-1)
    if (refusal) this.broken.push(`flow ${flow.id}: an attempt after its refusal`)
    if (last && !last.result) this.broken.push(`flow ${flow.id}: two attempts at once`)
    if (last?.result?.outcome === 'connected' && !last.totals)
      this.broken.push(`flow ${flow.id}: an attempt while connected`)
    attempts.push({ backend })
  }

  result(flow: Flow, backend: Backend, result: Result): void {
    const attempt = this.#story(flow).attempts.at(-1)
    if (attempt?.backend !== backend) this.broken.push(`flow ${flow.id}: a result for no attempt`)
    else if (attempt.result) this.broken.push(`flow ${flow.id}: a second result`)
    else attempt.result = result
  }

  carried(flow: Flow, backend: Backend, total: Bytes, more: Bytes): void {
    const attempt = this.#story(flow).attempts.at(-1)
    const { sent, received } = attempt?.carried ?? { sent: 0, received: 0 }
    if (attempt?.backend !== backend) this.broken.push(`flow ${flow.id}: bytes of no attempt`)
    else if (attempt.result?.outcome !== 'connected') this.broken.push(`flow ${flow.id}: bytes but never connected`)
    else if (attempt.totals) this.broken.push(`flow ${flow.id}: bytes after its close`)
    else if (sent + more.sent !== total.sent || received + more.received !== total.received)
      this.broken.push(`flow ${flow.id}: bytes that do not add up`)
    else attempt.carried = total
  }

  closed(flow: Flow, backend: Backend, totals: Totals): void {
    const attempt = this.#story(flow).attempts.at(-1)
    const { told } = totals
    if (told?.sent !== attempt?.carried?.sent || told?.received !== attempt?.carried?.received)
      this.broken.push(`flow ${flow.id}: its totals do not say what was told before`)
    if (attempt?.backend !== backend) this.broken.push(`flow ${flow.id}: a close for no attempt`)
    else if (attempt.result?.outcome !== 'connected') this.broken.push(`flow ${flow.id}: closed but never connected`)
    else if (attempt.totals) this.broken.push(`flow ${flow.id}: a second close`)
    else attempt.totals = totals
  }

  refused(flow: Flow, refusal: Refusal): void {
    const story = this.#story(flow)
    if (story.refusal) this.broken.push(`flow ${flow.id}: a second refusal`)
    story.refusal = refusal
  }

  /** Results in the order of their flows. */
  get results(): Result[] {
    return this.stories.flatMap(story => story.attempts.flatMap(attempt => attempt.result ?? []))
  }

  get outcomes(): string[] {
    return this.results.map(result => result.outcome)
  }

  /** What was told last of each flow while it was open. */
  get carriedSoFar(): Bytes[] {
    return this.stories.flatMap(story => story.attempts.flatMap(attempt => attempt.carried ?? []))
  }

  get totals(): Totals[] {
    return this.stories.flatMap(story => story.attempts.flatMap(attempt => attempt.totals ?? []))
  }

  get refusals(): Refusal[] {
    return this.stories.flatMap(story => story.refusal ?? [])
  }

  /** Keys of backends in the order they were tried. */
  get tried(): string[] {
    return this.stories.flatMap(story => story.attempts.map(attempt => attempt.backend.key))
  }

  /** Number of flows by how they ended; each flow counts once. */
  tally(): { served: number; refused: number; failed: number; open: number } {
    const tally = { served: 0, refused: 0, failed: 0, open: 0 }
    for (const { attempts, refusal } of this.stories) {
      const last = attempts.at(-1)
      if (last?.totals) tally.served++
      else if (refusal) tally.refused++
      else if (last?.result && last.result.outcome !== 'connected') tally.failed++
      else tally.open++
    }
    return tally
  }

  #story(flow: Flow): Story {
    const known = this.#byFlow.get(flow)
    if (known) return known
    if (this.#ids.has(flow.id)) this.broken.push(`flow ${flow.id}: the id of another flow`)
    const story = { flow, attempts: [] }
    this.#ids.add(flow.id)
    this.#byFlow.set(flow, story)
    this.stories.push(story)
    return story
  }
}
