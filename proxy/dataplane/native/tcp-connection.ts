/** One TCP connection of the native engine: choose, have it dialled, again with another backend if that fails, report. */
import type { Backend } from '../../model/backend.ts'
import type { Client, CloseReason, Flow, Refusal, Result } from '../../model/flow.ts'
import { refusal } from '../../model/refusal.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { Deadlines, Expiring } from '../flow/deadlines.ts'
import type { FlowContext, ListenerState, OpenConnection } from '../flow/flow-context.ts'
import { type Failure, noteFailure } from '../flow/outcome.ts'
import { outcomeOf } from '../streams/dial.ts'
import { addressBytes } from './address.ts'
import { Command, type Rings } from './rings.ts'

const none: readonly string[] = []

/** Where a connection's commands go. */
export interface PumpContext {
  readonly context: FlowContext
  readonly rings: Rings
  /** Of dials. */
  readonly dials: Deadlines
}

/**
 * `ended`: we have said our last word, and the pump has not yet. `cut`: the same, and its totals are still to be told.
 */
type State = 'choosing' | 'dialling' | 'open' | 'cut' | 'ended'

/** Is its own {@link Flow}: nothing is copied on the way. */
export class NativeConnection implements Flow, OpenConnection, Expiring {
  readonly id: number
  readonly client: Client
  frontend: Frontend
  service: GlobalService
  tried = none
  backend: Backend | undefined = undefined
  dueAt = 0
  /** The listener it came by. */
  readonly listener: ListenerState
  readonly #tcp: PumpContext
  readonly #slot: number
  readonly #generation: number
  readonly #deadline: number
  #state: State = 'choosing'
  #since: number
  #timedOut = false
  /** Of a dial that gets less time than usual. */
  #stopTimer: (() => void) | undefined
  #reason: CloseReason = 'done'

  constructor(tcp: PumpContext, listener: ListenerState, client: Client, slot: number, generation: number) {
    const { clock, options } = tcp.context
    this.id = tcp.context.nextId()
    this.client = client
    this.frontend = listener.frontend
    this.service = listener.service
    this.listener = listener
    this.#tcp = tcp
    this.#slot = slot
    this.#generation = generation
    this.#since = clock.now()
    this.#deadline = this.#since + options.dial.budgetMs
  }

  begin(): void {
    const { connections, options } = this.#tcp.context
    if (connections.size >= options.limits.connections) {
      return this.#refuse(refusal('limit', `${connections.size} connections are open, the limit`))
    }
    connections.add(this)
    this.#attempt(this.#since)
  }

  /** Whether new flows of its frontend may go to its backend as well: a backend that came back keeps its flows. */
  get wanted(): boolean {
    return this.listener.frontend.backends.some(b => b.key === this.backend?.key && b.state === 'active')
  }

  cut(reason: CloseReason): void {
    if (this.#state === 'open') {
      this.#state = 'cut'
      this.#reason = reason
      this.#command(Command.cut).setNow(this.#tcp.context.clock.now()).send()
      this.#leave()
    } else if (this.#state === 'dialling') {
      this.#result({ outcome: 'cancelled', ms: this.#elapsed() })
      this.#refuse(refusal('draining', `ended while its backend was dialled: ${reason}`))
    }
  }

  /** The dial has succeeded; bytes are moving already. */
  connected(): void {
    if (this.#state !== 'dialling') return
    const now = this.#tcp.context.clock.now()
    const ms = now - this.#since
    this.#state = 'open'
    this.#since = now
    this.#result({ outcome: 'connected', ms })
  }

  /** The dial takes too long. The pump answers: either it has ended with this, or it has succeeded just before. */
  expire(): void {
    this.#timedOut = true
    this.#command(Command.hangUp).send()
  }

  failed(error: Error): void {
    if (this.#state !== 'dialling' || !this.backend) return
    const backend = this.backend
    const ms = this.#elapsed()
    const result: Result = this.#timedOut ? { outcome: 'timeout', ms } : { outcome: outcomeOf(error), ms, error }
    this.#state = 'choosing'
    this.#result(result)
    this.#again(backend, result)
  }

  /** The pump's last word; `reason` is undefined when it was told to end it. */
  gone(reason: CloseReason | undefined, sent: number, received: number): void {
    const { chooser } = this.#tcp.context
    const state = this.#state
    this.#state = 'ended'
    if (state === 'ended') return
    if (state === 'dialling') this.#result({ outcome: 'cancelled', ms: this.#elapsed() })
    if (state !== 'cut') this.#leave()
    if ((state === 'open' || state === 'cut') && this.backend) {
      const why = state === 'cut' ? this.#reason : (reason ?? 'shutdown')
      chooser.closed(this, this.backend, { sent, received, ms: this.#elapsed(), reason: why })
    }
  }

  #attempt(now: number): void {
    const { chooser, clock, options } = this.#tcp.context
    const { backend, refusal } = chooser.choose(this)
    if (refusal) return this.#refuse(refusal)
    this.backend = backend
    chooser.connecting(this, backend)
    this.#state = 'dialling'
    this.#since = now
    this.#timedOut = false
    const leftMs = this.#deadline - now
    if (leftMs < options.dial.timeoutMs) this.#stopTimer = clock.after(leftMs, () => this.expire())
    else this.#tcp.dials.start(this, now)
    const address = addressBytes(backend)
    if (address) this.#command(Command.connect).setAddress(backend.family, address, backend.port).send()
    else this.failed(new Error(`${backend.key} has an address or a port that cannot be`))
  }

  #again(backend: Backend, result: Failure): void {
    const refusal = noteFailure(this, backend, result, this.#deadline, this.#tcp.context)
    if (refusal) return this.#refuse(refusal)
    // Services are replaced while we dial; the next attempt goes by what is true now.
    this.frontend = this.listener.frontend
    this.service = this.listener.service
    this.#attempt(this.#tcp.context.clock.now())
  }

  #result(result: Result): void {
    this.#tcp.dials.stop(this)
    this.#stopTimer?.()
    this.#stopTimer = undefined
    if (this.backend) this.#tcp.context.chooser.result(this, this.backend, result)
  }

  #refuse(refusal: Refusal): void {
    this.#state = 'ended'
    this.#command(Command.refuse).send()
    this.#leave()
    this.#tcp.context.chooser.refused(this, refusal)
  }

  #leave(): void {
    this.#tcp.context.connections.delete(this)
    this.#tcp.context.ended()
  }

  #elapsed(): number {
    return this.#tcp.context.clock.now() - this.#since
  }

  #command(kind: number) {
    return this.#tcp.rings.command(kind, this.#slot, this.#generation)
  }
}
