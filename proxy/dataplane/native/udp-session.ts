/**
 * One UDP session of the native engine: a client's address and port at one frontend. Its datagrams go natively over a link,
 * a connected socket towards one backend; here it is decided which, and told what became of it.
 *
 * A session that loses its backend (refused, retired, no longer healthy) is asked for another when its client next speaks.
 */
import type { Backend } from '../../model/backend.ts'
import type { Client, CloseReason, Flow, Refusal, Result } from '../../model/flow.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { ListenerState, OpenSession } from '../flow/flow-context.ts'
import { endedUnanswered, madeRoom, nextChoice, noteUdpFailure } from '../flow/udp-attempt.ts'
import { outcomeOf } from '../streams/dial.ts'
import { addressBytes } from './address.ts'
import { Command } from './rings.ts'
import type { PumpContext } from './tcp-connection.ts'

/** What a session needs of the listener it belongs to. */
export interface NativeUdpFrontend2 extends ListenerState {
  readonly sessions: Set<NativeSession>
}

/** One attempt: from the choice to the pump's word that its link has ended. */
interface Link {
  readonly backend: Backend
  readonly since: number
  answered: boolean
  /** Set when we have ended it, and its totals are still to be told. */
  ended?: CloseReason
}

const none: readonly string[] = []

export class NativeSession implements Flow, OpenSession {
  readonly id: number
  readonly client: Client
  readonly listener: NativeUdpFrontend2
  frontend: Frontend
  service: GlobalService
  tried = none
  backend: Backend | undefined = undefined
  readonly #pump: PumpContext
  readonly #slot: number
  readonly #generation: number
  #link: Link | undefined
  #left = false

  constructor(pump: PumpContext, frontend: NativeUdpFrontend2, client: Client, slot: number, generation: number) {
    this.id = pump.context.nextId()
    this.client = client
    this.listener = frontend
    this.frontend = frontend.frontend
    this.service = frontend.service
    this.#pump = pump
    this.#slot = slot
    this.#generation = generation
  }

  /** Whether it is this one that the pump speaks of. */
  is(generation: number): boolean {
    return this.#generation === generation
  }

  /** Datagrams wait in the pump. */
  asked(): void {
    if (!this.#left) this.#attempt()
  }

  /** The backend's first datagram. */
  answered(): void {
    const link = this.#link
    if (!link || link.ended || link.answered || !this.backend) return
    const { chooser, clock, unanswered } = this.#pump.context
    link.answered = true
    this.tried = none
    unanswered.delete(this)
    chooser.result(this, link.backend, { outcome: 'connected', ms: clock.now() - link.since })
  }

  /** The link is gone: by our own doing, or because of `error`. */
  unlinked(error: Error | undefined, sent: number, received: number): void {
    const link = this.#link
    if (!link) return
    this.#link = undefined
    if (link.ended) return this.#tellTotals(link, link.ended, sent, received)
    this.backend = undefined
    this.#pump.context.unanswered.add(this)
    if (error) this.#failed(link, error, sent, received)
  }

  /** The pump's last word. */
  dropped(sent: number, received: number): void {
    this.unlinked(undefined, sent, received)
  }

  quiet(): void {
    if (this.#left) return
    // Silence from a backend that has never answered is the only sign UDP gives of one that is not there.
    if (this.#pump.context.draining) this.cut('shutdown')
    else this.#end('idle', 'timeout')
  }

  cut(reason: CloseReason): void {
    if (this.#left) return
    const answered = this.backend ? (this.#link?.answered ?? true) : true
    this.#end(reason, 'cancelled')
    if (!answered) this.#pump.context.chooser.refused(this, endedUnanswered(reason))
  }

  /** Makes room for another session. */
  evict(): void {
    this.#settle('idle', 'cancelled')
    this.#refuse(madeRoom)
  }

  /** Leaves its backend; the next datagram goes to another. */
  move(): void {
    if (this.#settle('drained', 'cancelled')) this.#command(Command.unlink).send()
  }

  #attempt(): void {
    const { chooser, clock } = this.#pump.context
    const { backend, refusal } = nextChoice(this, this.#pump.context)
    if (refusal) return this.#refuse(refusal)
    this.backend = backend
    chooser.connecting(this, backend)
    this.#link = { backend, since: clock.now(), answered: false }
    const address = addressBytes(backend)
    if (address) return this.#command(Command.link).setAddress(backend.family, address, backend.port).send()
    this.unlinked(new Error(`${backend.key} has an address or a port that cannot be`), 0, 0)
    this.asked()
  }

  #failed(link: Link, error: Error, sent: number, received: number): void {
    const { context } = this.#pump
    const { chooser, clock } = context
    if (link.answered) this.#tellTotals(link, 'backend-reset', sent, received)
    else chooser.result(this, link.backend, { outcome: outcomeOf(error), error, ms: clock.now() - link.since })
    const refusal = noteUdpFailure(this, link.backend, error, context)
    if (refusal) this.#refuse(refusal)
  }

  #refuse(refusal: Refusal): void {
    this.#leave()
    this.#pump.context.chooser.refused(this, refusal)
  }

  #end(reason: CloseReason, outcome: 'timeout' | 'cancelled'): void {
    this.#settle(reason, outcome)
    this.#leave()
  }

  /** Ends the attempt, if there is one: its one result, or its totals as soon as the pump tells them. */
  #settle(reason: CloseReason, outcome: Exclude<Result['outcome'], 'connected'>): boolean {
    const link = this.#link
    if (!link || link.ended) return false
    const { chooser, clock, unanswered } = this.#pump.context
    this.backend = undefined
    unanswered.add(this)
    link.ended = reason
    if (!link.answered) chooser.result(this, link.backend, { outcome, ms: clock.now() - link.since })
    return true
  }

  #tellTotals({ backend, answered, since }: Link, reason: CloseReason, sent: number, received: number): void {
    const { chooser, clock } = this.#pump.context
    if (answered) chooser.closed(this, backend, { sent, received, ms: clock.now() - since, reason })
  }

  #leave(): void {
    const { context } = this.#pump
    this.#left = true
    this.#command(Command.forget).send()
    context.sessions.delete(this)
    context.unanswered.delete(this)
    this.listener.sessions.delete(this)
    context.ended()
  }

  #command(kind: number) {
    return this.#pump.rings.command(kind, this.#slot, this.#generation)
  }
}
