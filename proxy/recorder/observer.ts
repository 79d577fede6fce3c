/** Reads the recorder for those who watch: what has passed, and what passes from now on. */
import { clusterOfKey } from '../model/backend.ts'
import type { FlowEvent, FlowRecord, LostEvents } from '../model/flow-record.ts'
import type { Clock } from '../model/time/clock.ts'
import type { FlowFacts, FlowNames, FlowQuery } from './filter.ts'
import { answerOutcome, type FlowReader, labelsIn, outcomeOf, serviceIn } from './reader.ts'
import type { Recorder } from './recorder.ts'

export interface ObserverParts {
  readonly recorder: Recorder
  readonly reader: FlowReader
  readonly names: FlowNames
  readonly clock: Clock
}

/** Without `last` and `since`. */
const defaultLast = 20
/** How often followers are told. */
const tickMs = 200
/** To one follower in one tick; beyond it flows are lost to it, and counted. */
const maxPerTick = 2000

type Push = (events: readonly FlowEvent[]) => void

interface Follower {
  readonly query: FlowQuery
  readonly push: Push
}

export class FlowObservers {
  readonly #parts: ObserverParts
  readonly #followers = new Set<Follower>()
  #stopTicking: () => void = () => {}
  #skipped = 0

  constructor(parts: ObserverParts) {
    this.#parts = parts
  }

  get count(): number {
    return this.#followers.size
  }

  /**
   * The flows that have been recorded, oldest first. Where older ones have been overwritten that were asked for, the first event
   * says how many flows have left no record.
   */
  past({ matches, last, sinceMs }: FlowQuery): FlowEvent[] {
    const { recorder, clock } = this.#parts
    const most = last ?? (sinceMs === undefined ? defaultLast : Number.POSITIVE_INFINITY)
    const after = sinceMs === undefined ? Number.NEGATIVE_INFINITY : clock.now() - sinceMs
    const { flows, questions } = recorder
    const found: FlowRecord[] = []
    let f = flows.next - 1
    let q = questions.next - 1
    // Newest first, from both rings by their times.
    while (found.length < most && (flows.has(f) || questions.has(q))) {
      const flowTime = flows.has(f) ? flows.timeOf(f) : Number.NEGATIVE_INFINITY
      const questionTime = questions.has(q) ? questions.timeOf(q) : Number.NEGATIVE_INFINITY
      if (Math.max(flowTime, questionTime) < after) break
      const isFlow = flowTime >= questionTime
      const record = isFlow ? f-- : q--
      const facts = isFlow ? this.#flowFacts(record) : this.#questionFacts(record)
      if (!matches(facts, this.#parts.names)) continue
      const made = isFlow ? this.#parts.reader.flow(record) : this.#parts.reader.question(record)
      if (made) found.push(made)
    }
    const events = found.reverse().map(flow => this.#event(flow))
    const isShort = found.length < most && !flows.has(f) && !questions.has(q)
    const gone = flows.oldest - 1 + (questions.oldest - 1) + recorder.skipped.flows + recorder.skipped.questions
    return isShort && gone > 0 && sinceMs === undefined ? [this.#lost('HUBBLE_RING_BUFFER', gone), ...events] : events
  }

  /** Calls `push` with what passes from now on, until the returned function is called. */
  follow(query: FlowQuery, push: Push): () => void {
    const follower = { query, push }
    const { touchedFlows, touchedQuestions, touchedBytes } = this.#parts.recorder
    if (this.#followers.size === 0) {
      this.#skipped = this.#allSkipped()
      this.#stopTicking = this.#parts.clock.every(tickMs, () => this.#tick())
    }
    this.#followers.add(follower)
    touchedFlows.follow()
    touchedQuestions.follow()
    if (query.progress) touchedBytes.follow()
    return () => {
      if (!this.#followers.delete(follower)) return
      touchedFlows.unfollow()
      touchedQuestions.unfollow()
      if (query.progress) touchedBytes.unfollow()
      if (this.#followers.size === 0) this.#stopTicking()
    }
  }

  /** Tells the followers at once what has passed: before the end. */
  flush(): void {
    if (this.#followers.size > 0) this.#tick()
  }

  close(): void {
    this.#stopTicking()
    this.#followers.clear()
  }

  #tick(): void {
    const { recorder, reader, names } = this.#parts
    const flows = recorder.touchedFlows.take()
    const questions = recorder.touchedQuestions.take()
    const changed = new Set(flows.records)
    const moved = recorder.touchedBytes.take().records.filter(record => !changed.has(record))
    const skipped = this.#allSkipped() - this.#skipped
    this.#skipped += skipped
    if (flows.records.length + moved.length + questions.records.length + flows.lost + questions.lost + skipped === 0)
      return
    const made = new Map<string, FlowEvent | undefined>()
    const eventOf = (key: string, make: () => FlowRecord | undefined) => {
      if (!made.has(key)) {
        const flow = make()
        made.set(key, flow && this.#event(flow))
      }
      return made.get(key)
    }
    for (const { query, push } of this.#followers) {
      const events: FlowEvent[] = []
      let lost = flows.lost + questions.lost
      const take = (key: string, facts: FlowFacts, make: () => FlowRecord | undefined) => {
        if (!query.matches(facts, names)) return
        const event = events.length < maxPerTick ? eventOf(key, make) : undefined
        if (event) events.push(event)
        else lost++
      }
      for (const record of questions.records) {
        if (!recorder.questions.has(record)) lost++
        else take(`q${record}`, this.#questionFacts(record), () => reader.question(record))
      }
      for (const record of query.progress ? [...flows.records, ...moved] : flows.records) {
        if (!recorder.flows.has(record)) lost++
        else take(`f${record}`, this.#flowFacts(record), () => reader.flow(record))
      }
      if (skipped > 0) events.push(this.#lost('HUBBLE_RING_BUFFER', skipped))
      if (lost > 0) events.push(this.#lost('OBSERVER_EVENTS_QUEUE', lost))
      if (events.length > 0) push(events)
    }
  }

  #allSkipped(): number {
    const { flows, questions } = this.#parts.recorder.skipped
    return flows + questions
  }

  #flowFacts(record: number): FlowFacts {
    const entry = this.#parts.recorder.flows.read(record)
    const { udp, client, service, frontend, backend: key, refusal } = entry
    return {
      kind: udp ? 'session' : 'connection',
      outcome: outcomeOf(entry),
      client,
      service,
      frontend,
      key,
      backend: key === undefined ? undefined : addressOf(key),
      cluster: key === undefined ? undefined : clusterOfKey(key),
      code: refusal?.code,
    }
  }

  #questionFacts(record: number): FlowFacts {
    const { client, name, zone, rcode } = this.#parts.recorder.questions.read(record)
    return {
      kind: 'question',
      outcome: answerOutcome(rcode),
      client: client.address,
      service: zone === '.' ? undefined : serviceIn(labelsIn(name)),
      frontend: undefined,
      key: undefined,
      backend: undefined,
      cluster: undefined,
      code: undefined,
    }
  }

  #event(flow: FlowRecord): FlowEvent {
    return { flow, node_name: flow.node_name, time: flow.time }
  }

  #lost(source: LostEvents['source'], count: number): FlowEvent {
    const { reader, clock } = this.#parts
    const time = new Date(clock.wall()).toISOString()
    return { lost_events: { source, num_events_lost: count }, node_name: reader.node, time }
  }
}

/** Of a backend key. */
function addressOf(key: string): string {
  return key
    .slice(key.indexOf('/') + 1)
    .replace(/:\d+\/\w+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
}
