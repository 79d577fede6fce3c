/**
 * Finds rings through another proxy: we dial a backend that is a frontend elsewhere, and the flow comes back to one of our own
 * frontends, is dialled again, and so on without end. Nothing in a packet says so, and its bytes are not ours to change. What
 * shows a ring is that its flows come because we dial, and that no backend ever answers one:
 *
 * 1. A client whose flows at a frontend have had no byte from any backend for a while is looked at (`suspectAfter`).
 * 2. Its new flows are held back. Those of an ordinary client keep coming, and it is let go. In a ring nothing comes any more.
 * 3. The held flows are let go. In a ring they come back; again and again, `rounds` times, while those that were let go stay open, since
 *    they carry the next ones. A client that comes again because its flows have failed is an ordinary one.
 *
 * Then its flows are refused, which ends the whole chain, hop by hop. From then on this client gets none of the backends that led
 * back. Only this client: others cannot lose a backend by what it does. One flow at a time costs a lookup.
 */
import { subscriberNetwork } from '../../../model/address.ts'
import type { Backend } from '../../../model/backend.ts'
import type { Flow } from '../../../model/flow.ts'
import { doubled } from '../../../model/time/backoff.ts'
import type { Clock } from '../../../model/time/clock.ts'
import type { Loop } from '../../engine.ts'
import { outcomeError } from '../outcome.ts'

export interface Holdable extends Flow {
  readonly backend: Backend | undefined
  /** Set while it is watched. */
  watch: Watch | undefined
  /** It may go on, after it was held. */
  release(): void
  /** It is one of a ring: ends it. */
  refuseLoop(why: string): void
}

const suspectAfter = { flows: 128, ms: 2500 }
/** Until then flows that come one at a time wait, so that a ring does not reach the limits first. */
const paceMs = 5
/** After two at a time, which are no ring, or one with several flows in it. */
const paceAgainMs = 100
/**
 * Nothing may come for so long while flows are held, in turn the one and the other, and all must be back in `backMs`: connections of
 * a checker, which come every few seconds whatever we do, pass one of the two at most.
 */
const quietMs = [1000, 4000] as const
const backMs = 2000
const rounds = 6
/** A timer that fires so late says nothing: what came meanwhile may wait behind it, in a process that had no time. */
const lateMs = 200
const markedMs = 300_000
/** An ordinary client is not looked at again for so long, and each time for twice as long. */
const cleared = { firstMs: 60_000, longestMs: 3_600_000 }
const most = { watches: 8192, held: 256, marks: 256 }

/** One client at one frontend. */
export interface Watch {
  readonly client: string
  /** Flows since the last byte from a backend, and when the first of them came. */
  silent: number
  since: number
  clearedUntil: number
  unpacedUntil: number
  clearedMs: number | undefined
  /** Held to be paced. */
  paced: { flow: Holdable; stop: () => void } | undefined
  trial: Trial | undefined
}

interface Trial {
  readonly held: Set<Holdable>
  /** Released in the last round; of these, those that have not ended; and how many have come since. */
  released: number
  open: Set<Holdable>
  back: number
  round: number
  /** What the released flows have dialled. */
  readonly backends: Map<string, Backend>
  /** Of the round. */
  startedAt: number
  quietAt: number
  stop: () => void
}

export class LoopWatch {
  readonly #clock: Clock
  readonly #byFrontend = new Map<string, Map<string, Watch>>()
  #size = 0
  /** By client and backend. */
  readonly #marks = new Map<string, Loop & { until: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A new flow. True when it is held: it goes on, or ends, when it is told so. */
  holds(flow: Holdable, now: number): boolean {
    const watch = this.#watchOf(flow)
    if (!watch) return false
    flow.watch = watch
    if (watch.silent++ === 0) watch.since = now
    return watch.silent > suspectAfter.flows && this.#suspect(flow, watch, now)
  }

  /** Its backend has answered. */
  answered({ watch }: Holdable): void {
    if (!watch) return
    watch.silent = 0
    if (watch.trial || watch.paced) this.#letGo(watch)
  }

  /** A flow has ended, held or not. */
  left(flow: Holdable): void {
    const { watch } = flow
    watch?.trial?.held.delete(flow)
    watch?.trial?.open.delete(flow)
    if (watch?.paced?.flow !== flow) return
    watch.paced.stop()
    watch.paced = undefined
  }

  /** Why the flow must not have this backend; undefined when it may. */
  objection({ client }: Flow, backend: Backend): Error | undefined {
    if (this.#marks.size === 0) return undefined
    const mark = this.#marks.get(markKey(subscriberNetwork(client.address), backend))
    if (!mark || mark.until < this.#clock.now()) return undefined
    return outcomeError('ELOOP', `${backend.key} leads back to Starlane, by ${mark.client}`)
  }

  get size(): number {
    return this.#size
  }

  loops(): Loop[] {
    const now = this.#clock.now()
    for (const [key, { until }] of this.#marks) if (until < now) this.#marks.delete(key)
    return [...this.#marks.values()]
  }

  knows(frontend: string): boolean {
    return this.#byFrontend.has(frontend)
  }

  /** A frontend has closed. */
  forget(frontend: string): void {
    for (const watch of this.#byFrontend.get(frontend)?.values() ?? []) {
      this.#letGo(watch)
      this.#size--
    }
    this.#byFrontend.delete(frontend)
  }

  close(): void {
    for (const frontend of [...this.#byFrontend.keys()]) this.forget(frontend)
  }

  #watchOf({ client, frontend }: Holdable): Watch | undefined {
    const network = subscriberNetwork(client.address)
    let watches = this.#byFrontend.get(frontend.key)
    const known = watches?.get(network)
    if (known) return known
    if (this.#size >= most.watches && !this.#dropOne(watches)) return undefined
    if (!watches) {
      watches = new Map()
      this.#byFrontend.set(frontend.key, watches)
    }
    const watch = { client: network, silent: 0, since: 0, ...noTrial }
    watches.set(network, watch)
    this.#size++
    return watch
  }

  #dropOne(watches: Map<string, Watch> | undefined): boolean {
    for (const [key, watch] of watches ?? []) {
      if (watch.trial || watch.paced) continue
      watches?.delete(key)
      this.#size--
      return true
    }
    return false
  }

  #suspect(flow: Holdable, watch: Watch, now: number): boolean {
    const { trial } = watch
    if (trial) return this.#arrived(flow, watch, trial)
    if (now < watch.clearedUntil) return false
    if (now - watch.since < suspectAfter.ms) return now >= watch.unpacedUntil && this.#pace(flow, watch)
    this.#unpace(watch)
    const none = { released: 0, open: new Set<Holdable>(), back: 0, round: 0, backends: new Map<string, Backend>() }
    watch.trial = { ...none, held: new Set([flow]), startedAt: now, quietAt: now, stop: () => {} }
    this.#awaitQuiet(watch, watch.trial)
    return true
  }

  #pace(flow: Holdable, watch: Watch): boolean {
    if (watch.paced) {
      this.#unpace(watch)
      watch.unpacedUntil = this.#clock.now() + paceAgainMs
      return false
    }
    watch.paced = { flow, stop: this.#clock.after(paceMs, () => this.#unpace(watch)) }
    return true
  }

  #unpace(watch: Watch): void {
    const { paced } = watch
    watch.paced = undefined
    paced?.stop()
    paced?.flow.release()
  }

  #arrived(flow: Holdable, watch: Watch, trial: Trial): boolean {
    trial.back++
    if (this.#clock.now() - trial.startedAt > backMs || trial.held.size >= most.held) {
      this.#letGo(watch)
      return false
    }
    trial.held.add(flow)
    this.#awaitQuiet(watch, trial)
    return true
  }

  #awaitQuiet(watch: Watch, trial: Trial): void {
    const ms = quietMs[trial.round % 2 === 0 ? 0 : 1]
    trial.stop()
    trial.quietAt = this.#clock.now() + ms
    trial.stop = this.#clock.after(ms, () => this.#quiet(watch))
  }

  /** Nothing has come for a while. */
  #quiet(watch: Watch): void {
    const { trial } = watch
    if (!trial) return
    if (this.#clock.now() - trial.quietAt > lateMs) return this.#awaitQuiet(watch, trial)
    const areBack = trial.back > 0 && trial.back * 2 >= trial.released && trial.open.size * 2 >= trial.released
    if (trial.held.size === 0 || (trial.round > 0 && !areBack)) return this.#letGo(watch)
    for (const { backend } of trial.open) if (backend) trial.backends.set(backend.key, backend)
    if (trial.round === rounds) return this.#found(watch, trial)
    const released = [...trial.held]
    trial.released = released.length
    trial.open = new Set(released)
    trial.held.clear()
    trial.back = 0
    trial.round++
    trial.startedAt = this.#clock.now()
    trial.stop = this.#clock.after(backMs, () => this.#letGo(watch))
    for (const flow of released) flow.release()
  }

  #found(watch: Watch, trial: Trial): void {
    watch.trial = undefined
    watch.silent = 0
    const { client } = watch
    const until = this.#clock.now() + markedMs
    const [first] = trial.held
    for (const backend of trial.backends.values()) {
      if (!first) break
      const [oldest] = this.#marks.keys()
      if (this.#marks.size >= most.marks && oldest !== undefined) this.#marks.delete(oldest)
      const { frontend, service } = first
      this.#marks.set(markKey(client, backend), {
        ...{ backend, client, until },
        ...{ frontend: frontend.key, service: service.key },
      })
    }
    const keys = [...trial.backends.keys()].join(', ')
    for (const flow of [...trial.held]) flow.refuseLoop(`a ring: flows to ${keys} come back from ${client}`)
  }

  #letGo(watch: Watch): void {
    const { trial } = watch
    watch.trial = undefined
    this.#unpace(watch)
    if (!trial) return
    trial.stop()
    watch.clearedMs = doubled(watch.clearedMs, cleared)
    watch.clearedUntil = this.#clock.now() + watch.clearedMs
    for (const flow of [...trial.held]) flow.release()
  }
}

const noTrial = { clearedUntil: 0, unpacedUntil: 0, clearedMs: undefined, paced: undefined, trial: undefined }

function markKey(client: string, { key }: Backend): string {
  return `${client} ${key}`
}
