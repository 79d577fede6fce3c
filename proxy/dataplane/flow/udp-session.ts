/**
 * One UDP session, a client's address and port at one frontend, whichever engine carries its datagrams: admit, choose, open a
 * link to the backend, again with another backend if that fails, report.
 *
 * A link is a connected socket towards one backend, so that only this backend's datagrams come back and an ICMP refusal is
 * reported (RFC 1122, 4.1.3.3). A session that loses its backend (refused, gone from its list, found dead) chooses again when its
 * client next sends.
 *
 * An engine extends it by the calls that touch datagrams and reports what happens: {@link UdpSession.asked},
 * {@link UdpSession.answered}, {@link UdpSession.linkEnded}, {@link UdpSession.quiet}.
 */
import type { Backend } from '../../model/backend.ts'
import type { Bytes, Choice, Client, CloseReason, Flow, Refusal } from '../../model/flow.ts'
import { tellCarried } from '../../model/flows/carried.ts'
import { refusal } from '../../model/refusal.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { FlowContext, OpenSession } from './flow-context.ts'
import type { Watch } from './limits/loop-watch.ts'
import { type FlowShare, heldWith } from './limits/shares.ts'
import { isExhausted, outcomeOf, outOfResources } from './outcome.ts'
import type { UdpFrontend } from './udp-frontend.ts'

/** While the engine drains, a session that has been idle for so long has ended. */
const drainingIdleMs = 1000
/** A part of the limit: so many unanswered sessions are a flood, and a client with more sessions has many. */
const manyPart = 1 / 8
const none: readonly string[] = []

/** How long a session may be idle now; 0: no limit. */
export function idleLimitMs({ draining, options: { idle } }: FlowContext): number {
  return draining ? Math.min(idle.udpMs || drainingIdleMs, drainingIdleMs) : idle.udpMs
}

/** One attempt: from the choice until the engine reports that its link has ended. */
interface Link {
  readonly backend: Backend
  readonly since: number
  answered: boolean
  /** Set when we have ended it; its totals are still to come. */
  ended?: CloseReason
  told?: Bytes | undefined
}

/** Is its own {@link Flow}: nothing is copied. */
export abstract class UdpSession implements Flow, OpenSession {
  readonly id: number
  readonly client: Client
  readonly listener: UdpFrontend
  frontend: Frontend
  service: GlobalService
  tried = none
  backend: Backend | undefined = undefined
  /** The number of its record, kept here for the recorder. */
  record = 0
  share: FlowShare | undefined = undefined
  watch: Watch | undefined = undefined
  protected readonly context: FlowContext
  #link: Link | undefined
  #left = false
  #held = false

  constructor(context: FlowContext, listener: UdpFrontend, client: Client) {
    this.id = context.nextId()
    this.client = client
    this.listener = listener
    this.frontend = listener.frontend
    this.service = listener.service
    this.context = context
  }

  /** Opens a socket to the backend and sends what waits for it. Returns an error when that cannot even begin. */
  protected abstract openLink(backend: Backend): Error | undefined
  /** Closes the link; answered by {@link linkEnded} with the totals. */
  protected abstract closeLink(): void
  /** Ends the session and its link, if it has one; that is answered by {@link linkEnded}. */
  protected abstract forget(): void

  tick(_now: number): void {}

  /** It waits, without a backend: its client is suspected of a ring. */
  protected get isHeld(): boolean {
    return this.#held
  }

  /**
   * Takes the session in; false when it is refused. A client that is a UDP frontend of ours is a forged source or a loop: two
   * frontends would answer each other without end (CVE-2024-2169). At the limit another session makes room, or this one is refused.
   */
  begin(): boolean {
    const { sessions, unanswered, draining, udpAddresses } = this.context
    if (draining) return this.#turnAway(refusal('draining', 'the proxy is shutting down'))
    if (udpAddresses.has(this.client)) return this.#turnAway(refusal('loop', 'the client is a UDP frontend itself'))
    if (sessions.isFullFor(this)) {
      const other = this.#inPlaceOf()
      if (!other)
        return this.#turnAway(
          refusal('limit', `${sessions.size} UDP sessions are open, the limit of all or of this frontend`),
        )
      other.evict()
    }
    sessions.add(this)
    unanswered.add(this)
    this.listener.sessions.add(this)
    this.#held = this.context.loops.holds(this, this.context.clock.now())
    return true
  }

  /**
   * In place of {@link begin}, for a session that another process has carried until now, to a backend that is still listed.
   * `isLinked`: its socket has come along; otherwise another one is opened. False when the session is refused.
   */
  resume(backend: Backend, answered: boolean, isLinked: boolean): boolean {
    if (!this.begin()) return false
    this.#held = false
    const { chooser, clock } = this.context
    this.backend = backend
    chooser.connecting(this, backend)
    this.#link = { backend, since: clock.now(), answered: false }
    if (answered) this.answered()
    const error = isLinked ? undefined : this.openLink(backend)
    if (error) this.linkEnded(error, 0, 0)
    return true
  }

  /** Another process carries it on, with its link. Undefined when the link has just ended here. */
  passed(sent: number, received: number): { readonly backend: string; readonly answered: boolean } | undefined {
    const link = this.#link
    if (!link || this.#left) return undefined
    this.#link = undefined
    const { backend, answered, ended } = link
    if (answered) this.#reportTotals(link, ended ?? 'passed', sent, received)
    else if (!ended) {
      const { chooser, clock } = this.context
      chooser.result(this, backend, { outcome: 'cancelled', ms: clock.now() - link.since })
    }
    this.#depart()
    return ended ? undefined : { backend: backend.key, answered }
  }

  release(): void {
    if (!this.#held) return
    this.#held = false
    this.asked()
  }

  refuseLoop(why: string): void {
    if (this.#held && !this.#left) this.#refuse(refusal('loop', why))
  }

  /** The client has sent, and the session has no backend. */
  asked(): void {
    if (!this.#left && !this.#held) this.#attempt()
  }

  /** The backend has sent. Only the first time of a link counts. */
  answered(): void {
    const link = this.#link
    if (!link || link.answered || link.ended) return
    const { chooser, clock, unanswered } = this.context
    link.answered = true
    this.tried = none
    unanswered.delete(this)
    this.context.sessions.active(this)
    this.context.loops.answered(this)
    chooser.result(this, link.backend, { outcome: 'connected', ms: clock.now() - link.since })
  }

  /** So many bytes have passed over the link until now; called about once a second while there are more. */
  protected carried(sent: number, received: number): void {
    const link = this.#link
    if (!link?.answered || link.ended) return
    link.told = tellCarried(this.context.chooser, this, link.backend, { sent, received }, link.told)
  }

  /** The link is gone: because of `error`, or because we have closed it. */
  linkEnded(error: Error | undefined, sent: number, received: number): void {
    const link = this.#link
    if (!link) return
    this.#link = undefined
    if (link.ended) return this.#reportTotals(link, link.ended, sent, received)
    this.backend = undefined
    this.context.unanswered.add(this)
    if (error) this.#failed(link, error, sent, received)
  }

  /** Nothing has moved for {@link idleLimitMs}. */
  quiet(): void {
    if (this.#left) return
    if (this.context.draining) return this.cut('shutdown')
    // Silence from a backend that has never answered is the only sign UDP gives of one that is not there.
    this.#settle('idle', 'timeout')
    this.#leave()
  }

  cut(reason: CloseReason): void {
    if (this.#left) return
    const unanswered = this.backend !== undefined && this.#link?.answered === false
    this.#settle(reason, 'cancelled')
    this.#leave()
    if (unanswered) this.context.chooser.refused(this, refusal('draining', `ended before any reply: ${reason}`))
  }

  evict(): void {
    const answered = this.#link?.answered === true
    this.#settle('evicted', 'cancelled')
    if (answered) this.#leave()
    else this.#refuse(refusal('limit', 'made room for a newer session before any reply'))
  }

  lose(): void {
    if (this.backend) this.tried = [...this.tried, this.backend.key]
    this.move()
  }

  move(): void {
    if (this.#settle('drained', 'cancelled')) this.closeLink()
  }

  /**
   * While many sessions have no reply, the oldest of those goes, as in the kernel's conntrack: a flood of forged clients evicts its
   * own sessions, and none that is in use. Else each client has its share. A client with many sessions does not take the place
   * of one with fewer.
   */
  #inPlaceOf(): OpenSession | undefined {
    const { sessions, unanswered, options } = this.context
    const many = options.limits.udpSessions * manyPart
    const fair = unanswered.size < many ? sessions.inPlaceOf(this) : undefined
    if (fair) return fair
    const [oldest] = sessions.size < options.limits.udpSessions ? [] : unanswered
    const held = sessions.heldBy(this)
    return held <= many || (oldest && heldWith(oldest) >= held) ? oldest : undefined
  }

  #attempt(): void {
    const { chooser, clock, loops } = this.context
    while (!this.#left) {
      const choice = this.#choose()
      if (choice.refusal) return this.#refuse(choice.refusal)
      const { backend } = choice
      this.backend = backend
      chooser.connecting(this, backend)
      this.#link = { backend, since: clock.now(), answered: false }
      const error = loops.objection(this, backend) ?? this.openLink(backend)
      if (!error) return
      this.linkEnded(error, 0, 0)
    }
  }

  /** By what the frontend is now; a refusal when as many backends have failed as may be tried. */
  #choose(): Choice {
    const { chooser, options } = this.context
    this.frontend = this.listener.frontend
    this.service = this.listener.service
    const { tried } = this
    if (tried.length < options.dial.attempts) return chooser.choose(this)
    return { refusal: refusal('no-backend', `${tried.length} attempts failed, the last one: ${tried.at(-1)}`) }
  }

  #failed(link: Link, error: Error, sent: number, received: number): void {
    const { chooser, clock } = this.context
    const outcome = outcomeOf(error)
    if (link.answered) this.#reportTotals(link, 'backend-reset', sent, received)
    else chooser.result(this, link.backend, { outcome, error, ms: clock.now() - link.since })
    this.tried = [...this.tried, link.backend.key]
    if (outcome === 'local') this.context.localFault(error)
    if (isExhausted(error)) this.#refuse(outOfResources(error))
  }

  /** Ends the attempt, if there is one: with its one result, or with its totals once the engine reports them. */
  #settle(reason: CloseReason, outcome: 'timeout' | 'cancelled'): boolean {
    const link = this.#link
    if (!link || link.ended) return false
    const { chooser, clock, unanswered } = this.context
    this.backend = undefined
    unanswered.add(this)
    link.ended = reason
    if (!link.answered) chooser.result(this, link.backend, { outcome, ms: clock.now() - link.since })
    return true
  }

  #reportTotals({ backend, answered, since, told }: Link, reason: CloseReason, sent: number, received: number): void {
    const { chooser, clock } = this.context
    if (answered) chooser.closed(this, backend, { sent, received, ms: clock.now() - since, reason, told })
  }

  #turnAway(refused: Refusal): false {
    this.#refuse(refused)
    return false
  }

  #refuse(refused: Refusal): void {
    this.#leave()
    this.context.chooser.refused(this, refused)
  }

  #leave(): void {
    this.#left = true
    this.forget()
    this.#depart()
  }

  #depart(): void {
    const { context } = this
    this.#left = true
    context.loops.left(this)
    context.sessions.remove(this)
    context.unanswered.delete(this)
    this.listener.sessions.delete(this)
    context.ended()
  }
}
