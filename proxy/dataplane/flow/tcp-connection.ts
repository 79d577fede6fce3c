/**
 * One TCP connection, whichever engine carries its bytes: admit, choose, dial, again with another backend if that fails,
 * carry, report.
 *
 *     choosing ─▶ dialling ─▶ open ─▶ cut ─▶ ended        a failed dial goes back to choosing
 *     held ─▶ choosing                                    while its client is suspected of a ring: see LoopWatch
 *
 * An engine extends it by the calls that touch bytes and reports what happens: {@link TcpConnection.connected},
 * {@link TcpConnection.failed}, {@link TcpConnection.ended}.
 */
import type { Backend } from '../../model/backend.ts'
import type { Bytes, Client, CloseReason, Flow, Refusal, Result } from '../../model/flow.ts'
import { tellCarried } from '../../model/flows/carried.ts'
import { refusal } from '../../model/refusal.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import { type Expiring, notWaiting } from './deadlines.ts'
import type { FlowContext, OpenConnection } from './flow-context.ts'
import type { Watch } from './limits/loop-watch.ts'
import type { FlowShare } from './limits/shares.ts'
import type { ListenerState } from './listener-state.ts'
import { type Failure, isExhausted, noDescriptor, outcomeOf, outOfResources } from './outcome.ts'

/** `cut`: we have ended it, and its totals are still to come. `ended`: nothing more is reported of it. */
type State = 'held' | 'choosing' | 'dialling' | 'open' | 'cut' | 'ended'

const none: readonly string[] = []

/** Is its own {@link Flow}: nothing is copied. */
export abstract class TcpConnection implements Flow, OpenConnection, Expiring {
  readonly id: number
  readonly client: Client
  listener: ListenerState
  frontend: Frontend
  service: GlobalService
  tried = none
  backend: Backend | undefined = undefined
  /** Among the dials that are under way. */
  previous: Expiring | undefined = undefined
  next: Expiring | undefined = undefined
  dueAt = notWaiting
  /** The number of its record, kept here for the recorder. */
  record = 0
  share: FlowShare | undefined = undefined
  watch: Watch | undefined = undefined
  protected readonly context: FlowContext
  #deadline: number
  #state: State = 'choosing'
  /** When the attempt began, or the connection was made. */
  #since: number
  #timedOut = false
  /** Stops the timer of a dial that has less than the usual time. */
  #stopTimer: (() => void) | undefined
  #reason: CloseReason = 'done'
  #told: Bytes | undefined

  constructor(context: FlowContext, listener: ListenerState, client: Client) {
    this.id = context.nextId()
    this.client = client
    this.listener = listener
    this.frontend = listener.frontend
    this.service = listener.service
    this.context = context
    this.#since = context.clock.now()
    this.#deadline = this.#since + context.options.dial.budgetMs
  }

  /** Begins to connect; ends in {@link connected} or {@link failed}. */
  protected abstract dial(backend: Backend): void
  /** Gives up the dial; answered by {@link failed}, unless it has connected before. */
  protected abstract hangUp(): void
  /** Resets the client, and gives up a dial without a report. */
  protected abstract reset(): void
  /** Ends an open connection; answered by {@link ended} with the totals. */
  protected abstract end(reason: CloseReason): void

  tick(_now: number): void {}

  get backendListed(): boolean {
    return this.listener.service.backends.some(({ key }) => key === this.backend?.key)
  }

  /** At the limit, the idlest connection of the client that holds most makes room: see {@link Shares}. */
  begin(): void {
    const { connections } = this.context
    if (connections.isFullFor(this)) {
      const idlest = connections.inPlaceOf(this)
      if (!idlest)
        return this.#refuse(
          refusal('limit', `${connections.size} connections are open, the limit of all or of this frontend`),
        )
      idlest.evict()
    }
    connections.add(this)
    if (this.context.loops.holds(this, this.#since)) this.#state = 'held'
    else this.#attempt(this.#since)
  }

  release(): void {
    if (this.#state !== 'held') return
    const now = this.context.clock.now()
    this.#state = 'choosing'
    this.#deadline = now + this.context.options.dial.budgetMs
    this.#attempt(now)
  }

  refuseLoop(why: string): void {
    if (this.#state === 'held') this.#refuse(refusal('loop', why))
  }

  /**
   * In place of {@link begin}: no descriptor is left for its backend, and the engine has reset the client. If its client has less
   * than a share, there will be room when it comes again.
   */
  turnedAway(): void {
    const error = noDescriptor()
    this.#state = 'ended'
    this.context.localFault(error)
    this.context.chooser.refused(this, outOfResources(error))
    this.context.connections.inPlaceOf(this)?.evict()
  }

  evict(): void {
    if (this.#state === 'open') return this.cut('evicted')
    if (this.#state !== 'dialling' && this.#state !== 'held') return
    if (this.#state === 'dialling') this.#result({ outcome: 'cancelled', ms: this.#elapsed() })
    this.#refuse(refusal('limit', 'made room for a connection of a client that holds fewer'))
  }

  cut(reason: CloseReason): void {
    if (this.#state === 'open') {
      this.#state = 'cut'
      this.#reason = reason
      this.#leave()
      this.end(reason)
    } else if (this.#state === 'dialling' || this.#state === 'held') {
      if (this.#state === 'dialling') this.#result({ outcome: 'cancelled', ms: this.#elapsed() })
      this.#refuse(refusal('draining', `ended before it had a backend: ${reason}`))
    }
  }

  lose(): void {
    if (this.#state === 'open') this.cut('backend-lost')
  }

  /** The dial takes too long. It may still connect before the engine has given it up: then the connection stands. */
  expire(): void {
    this.#timedOut = true
    this.hangUp()
  }

  /** The dial has succeeded. */
  connected(): void {
    if (this.#state !== 'dialling') return
    const now = this.context.clock.now()
    const ms = now - this.#since
    this.#state = 'open'
    this.#since = now
    this.#result({ outcome: 'connected', ms })
  }

  /** So many bytes have passed until now; called about once a second while there are more. */
  carried(sent: number, received: number): void {
    const { backend } = this
    if (this.#state !== 'open' || !backend) return
    if (received > (this.#told?.received ?? 0)) this.#heard(backend)
    this.#told = tellCarried(this.context.chooser, this, backend, { sent, received }, this.#told)
  }

  /** The client has asked, and the backend has sent nothing for too long. */
  mute(): void {
    if (this.#state === 'open' && this.backend) this.context.onMute(this, this.backend)
  }

  /** The dial has failed; the client still waits. */
  failed(error: Error): void {
    const { backend } = this
    if (this.#state !== 'dialling' || !backend) return
    const ms = this.#elapsed()
    const result: Failure = this.#timedOut ? { outcome: 'timeout', ms } : { outcome: outcomeOf(error), ms, error }
    this.#state = 'choosing'
    this.#result(result)
    this.#again(backend, result)
  }

  /** Nothing is left of the connection. Without a reason, it ended because we said so. */
  ended(reason: CloseReason | undefined, sent: number, received: number): void {
    const state = this.#state
    if (state === 'ended') return
    this.#state = 'ended'
    if (received > 0) this.context.loops.answered(this)
    if (state === 'dialling') this.#result({ outcome: 'cancelled', ms: this.#elapsed() })
    if (state !== 'cut') this.#leave()
    if ((state === 'open' || state === 'cut') && this.backend) {
      const why = state === 'cut' ? this.#reason : (reason ?? 'shutdown')
      const totals = { sent, received, ms: this.#elapsed(), reason: why, told: this.#told }
      this.context.chooser.closed(this, this.backend, totals)
    }
  }

  #heard(backend: Backend): void {
    this.context.connections.active(this)
    this.context.loops.answered(this)
    this.context.onHeard(backend)
  }

  #attempt(now: number): void {
    const { chooser, clock, dials, loops, options } = this.context
    const choice = chooser.choose(this)
    if (choice.refusal) return this.#refuse(choice.refusal)
    const { backend } = choice
    this.backend = backend
    chooser.connecting(this, backend)
    this.#state = 'dialling'
    this.#since = now
    this.#timedOut = false
    const leftMs = this.#deadline - now
    if (leftMs < options.dial.timeoutMs) this.#stopTimer = clock.after(leftMs, () => this.expire())
    else dials.start(this, now)
    const loop = loops.objection(this, backend)
    if (loop) this.failed(loop)
    else this.dial(backend)
  }

  /** Notes the backend as tried, and makes the next attempt while there may be one. */
  #again(backend: Backend, { outcome, error }: Failure): void {
    const { clock, options } = this.context
    if (error && outcome === 'local') this.context.localFault(error)
    if (error && isExhausted(error)) return this.#refuse(outOfResources(error))
    const now = clock.now()
    this.tried = [...this.tried, backend.key]
    if (this.tried.length >= options.dial.attempts || now >= this.#deadline) {
      const attempts = this.tried.length === 1 ? '1 attempt' : `${this.tried.length} attempts`
      return this.#refuse(refusal('no-backend', `${attempts} failed, the last one: ${backend.key} ${outcome}`))
    }
    // Services are replaced while we dial; the next attempt goes by what is true now.
    this.frontend = this.listener.frontend
    this.service = this.listener.service
    this.#attempt(now)
  }

  #result(result: Result): void {
    this.context.dials.stop(this)
    this.#stopTimer?.()
    this.#stopTimer = undefined
    if (this.backend) this.context.chooser.result(this, this.backend, result)
  }

  #refuse(refused: Refusal): void {
    this.#state = 'ended'
    this.reset()
    this.#leave()
    this.context.chooser.refused(this, refused)
  }

  #leave(): void {
    this.context.loops.left(this)
    this.context.connections.remove(this)
    this.context.ended()
  }

  #elapsed(): number {
    return this.context.clock.now() - this.#since
  }
}
