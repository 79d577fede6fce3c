/**
 * One stream of another cluster at a gateway: is it allowed, which backend, dial, carry, report. It passes the same chain as the
 * flows of this cluster's own clients; the client is the other cluster, as its certificate has proved. Of what the stream says of
 * itself, `forwarded` is passed on as the other cluster's word; `baggage` and names decide nothing.
 */
import type { Backend } from '../../model/backend.ts'
import type { Bytes, Client, CloseReason, Flow, Refusal, Result } from '../../model/flow.ts'
import { tellCarried } from '../../model/flows/carried.ts'
import { refusal } from '../../model/refusal.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import type { PeerIdentity } from '../../model/tunnel/identity.ts'
import type { ServerStream } from '../server/door.ts'
import { type ProxyError, proxyStatus, type Status } from '../wire/answers.ts'
import type { GatewayContext } from './context.ts'
import type { Offer } from './offers.ts'

/** A peer of a gateway, as the chain sees it. */
export interface PeerClient extends Client {
  readonly identity: PeerIdentity
  /** Its streams carry tunnels to workloads of their own: they end where the backend's node ends tunnels, and are not read here. */
  readonly double?: boolean
}

type State = 'choosing' | 'dialling' | 'open' | 'cutting' | 'ended'

const none: readonly string[] = []

/** Is its own {@link Flow}: nothing is copied. */
export abstract class GatewayFlow implements Flow {
  readonly id: number
  readonly client: PeerClient
  service: GlobalService
  frontend: Frontend
  tried = none
  backend: Backend | undefined
  protected readonly context: GatewayContext
  protected readonly stream: ServerStream
  #state: State = 'choosing'
  #since: number
  #cancelTimeout: () => void = () => {}
  #told: Bytes | undefined
  readonly #left: () => void

  constructor(context: GatewayContext, stream: ServerStream, client: PeerClient, offer: Offer, left: () => void) {
    this.context = context
    this.stream = stream
    this.client = client
    this.id = context.nextId()
    this.service = offer.service
    this.frontend = offer.frontend
    this.#since = context.clock.now()
    this.#left = left
    stream.onEnd(() => this.#streamClosed())
  }

  /** Connects to the backend; ends in {@link connected} or {@link failed}. */
  protected abstract dial(backend: Backend): void
  /** Gives up the dial, without a report. */
  protected abstract hangUp(): void
  /** Ends both sides of an open flow with a reset; answered by {@link ended}, at once or when the totals are known. */
  protected abstract cutBoth(reason: CloseReason): void
  /** Looks for idleness; called about every second. */
  abstract tick(now: number): void

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  /**
   * The first of `offers` that the chain lets this client have is used. A gateway that leaves serves what has come before its GOAWAY, which
   * says so (RFC 9113, 6.8).
   */
  begin(offers: readonly Offer[]): void {
    const { chooser, streams } = this.context
    if (!streams.add(this.client.identity.cluster, this)) {
      return this.#refuse(refusal('limit', `${streams.size} streams are open, the limit of this gateway`))
    }
    let refused: Refusal | undefined
    for (const offer of offers) {
      this.service = offer.service
      this.frontend = offer.frontend
      const choice = chooser.choose(this)
      if (choice.backend) return this.#attempt(choice.backend)
      refused = choice.refusal
    }
    this.#refuse(refused ?? refusal('no-backend', 'nothing is offered'))
  }

  evict(): void {
    if (this.#state === 'open') this.cut('evicted')
    else if (this.#state !== 'cutting')
      this.#refuse(refusal('limit', 'made room for a stream of a cluster that holds fewer'))
  }

  cut(reason: CloseReason): void {
    if (this.#state === 'cutting') return
    if (this.#state === 'open') {
      this.#state = 'cutting'
      this.#giveUpPlace()
      this.cutBoth(reason)
    } else this.#refuse(refusal('draining', `ended while its backend was dialled: ${reason}`))
  }

  protected connected(): void {
    if (this.#state !== 'dialling') return
    this.#cancelTimeout()
    const ms = this.#elapsed()
    this.#state = 'open'
    this.#since = this.context.clock.now()
    this.#result({ outcome: 'connected', ms })
  }

  /** The dial has failed. A flow that asked for a service goes on to another of its backends. */
  protected failed(outcome: 'refused' | 'timeout' | 'unreachable' | 'local', error: Error): void {
    if (this.#state !== 'dialling' || !this.backend) return
    this.#cancelTimeout()
    const { options, chooser } = this.context
    this.#state = 'choosing'
    this.#result({ outcome, ms: this.#elapsed(), error })
    this.tried = [...this.tried, this.backend.key]
    if (this.tried.length < options.dial.attempts && this.tried.length < this.frontend.backends.length) {
      const choice = chooser.choose(this)
      if (choice.backend) return this.#attempt(choice.backend)
    }
    const errors = {
      refused: 'connection_refused',
      timeout: 'connection_timeout',
      unreachable: 'destination_unavailable',
      local: 'proxy_internal_error',
    } as const
    chooser.refused(this, refusal('no-backend', `the backend cannot be reached: ${outcome}`))
    this.#answer(503, errors[outcome], `${this.backend.key}: ${error.message}`)
    this.#leave()
  }

  /** So many bytes have passed until now; called about once a second while there are more. */
  protected carried(sent: number, received: number): void {
    if (this.#state !== 'open' || !this.backend) return
    this.#told = tellCarried(this.context.chooser, this, this.backend, { sent, received }, this.#told)
  }

  protected ended(reason: CloseReason, sent: number, received: number): void {
    if ((this.#state !== 'open' && this.#state !== 'cutting') || !this.backend) return
    const ms = this.#elapsed()
    this.#leave()
    this.context.chooser.closed(this, this.backend, { sent, received, ms, reason, told: this.#told })
  }

  #attempt(backend: Backend): void {
    const { chooser, clock, options } = this.context
    this.backend = backend
    this.#since = clock.now()
    this.#state = 'dialling'
    chooser.connecting(this, backend)
    this.#cancelTimeout = clock.after(options.dial.timeoutMs, () => {
      this.hangUp()
      this.failed('timeout', new Error(`no answer within ${options.dial.timeoutMs} ms`))
    })
    this.dial(backend)
  }

  /** The peer has left before its backend was connected; an open flow notices by itself. */
  #streamClosed(): void {
    if (this.#state === 'dialling') {
      this.#cancelTimeout()
      this.hangUp()
      this.#result({ outcome: 'cancelled', ms: this.#elapsed() })
    }
    if (this.#state !== 'open' && this.#state !== 'cutting') this.#leave()
  }

  #refuse(refused: Refusal): void {
    if (this.#state === 'ended' || this.#state === 'open' || this.#state === 'cutting') return
    if (this.#state === 'dialling') {
      this.#cancelTimeout()
      this.hangUp()
      this.#result({ outcome: 'cancelled', ms: this.#elapsed() })
    }
    const [status, error] = answerOf(refused)
    this.#leave()
    // What a policy has against it is for the log of this cluster.
    this.#answer(status, error, status === 401 ? notHere : refused.why)
    this.context.chooser.refused(this, refused)
  }

  #answer(status: Status, error: ProxyError, details: string): void {
    answer(this.stream, status, error, details)
  }

  #result(result: Result): void {
    if (this.backend) this.context.chooser.result(this, this.backend, result)
  }

  #leave(): void {
    if (this.#state === 'ended') return
    const isCut = this.#state === 'cutting'
    this.#state = 'ended'
    if (!isCut) this.#giveUpPlace()
  }

  #giveUpPlace(): void {
    this.context.streams.remove(this.client.identity.cluster, this)
    this.#left()
  }

  #elapsed(): number {
    return this.context.clock.now() - this.#since
  }
}

/** The same for what does not exist and for what is not for this cluster: a stranger cannot tell them apart. */
export const notHere = 'no backend that this cluster may reach'

/** Ends a stream with an answer other than 200. */
export function answer(stream: ServerStream, status: Status, error: ProxyError, details: string): void {
  if (!stream.isOver) stream.refuse({ ':status': String(status), 'proxy-status': proxyStatus(error, details) })
}

/** 503 is worth another attempt elsewhere, 401 says no. */
function answerOf({ code }: Refusal): [Status, ProxyError] {
  if (code === 'limit') return [503, 'connection_limit_reached']
  if (code === 'no-backend' || code === 'draining') return [503, 'destination_unavailable']
  return [401, 'http_request_denied']
}
