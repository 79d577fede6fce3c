/** The gateway's side of a connection without a certificate: it may ask for one with a token, and nothing else. */
import { constants } from 'node:http2'
import type { Log } from '../../model/log.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { Arrival, ServerStream, Session } from '../server/door.ts'
import type { Issuer } from './issuer.ts'
import { enrolPath, enrolRequest, serveRequest } from './wire.ts'

/** Connections at a time: strangers get no more of a gateway than this. */
const maxSessions = 8
/** How long one takes at most. */
const sessionMs = 10_000

export class Doorway {
  readonly #issuer: Issuer
  readonly #clock: Clock
  readonly #log: Log
  /** With the address of the client, the oldest first. */
  readonly #sessions = new Map<Session, string>()

  constructor(issuer: Issuer, clock: Clock, log: Log) {
    this.#issuer = issuer
    this.#clock = clock
    this.#log = log
  }

  /** Takes the connection, or returns why not. */
  open(arrival: Arrival): string | undefined {
    const { address } = arrival
    if (this.#sessions.size >= maxSessions && !this.#makeRoom(address))
      return `${maxSessions} enrolments are in progress, the limit`
    const session = arrival.begin(
      { streams: 1, memory: 1 },
      {
        stream: stream => this.#serve(stream, address, session),
        failed() {},
        ended: () => {
          cancel()
          this.#sessions.delete(session)
        },
      },
    )
    this.#sessions.set(session, address)
    const cancel = this.#clock.after(sessionMs, () => end(session))
    return undefined
  }

  destroy(): void {
    for (const session of this.#sessions.keys()) end(session)
  }

  /** Ends the oldest session of the client that has most of them, if that is more than the newcomer would have. */
  #makeRoom(newcomer: string): boolean {
    const byAddress = Map.groupBy(this.#sessions, ([, address]) => address)
    const [greediest = []] = [...byAddress.values()].sort((a, b) => b.length - a.length)
    const [oldest] = greediest
    if (!oldest || greediest.length <= (byAddress.get(newcomer)?.length ?? 0) + 1) return false
    this.#sessions.delete(oldest[0])
    end(oldest[0])
    return true
  }

  #serve(stream: ServerStream, address: string, session: Session): void {
    const { headers } = stream
    if (headers[':method'] !== 'POST' || headers[':path'] !== enrolPath)
      return stream.reset(constants.NGHTTP2_REFUSED_STREAM)
    void serveRequest(stream, enrolRequest, ({ id, secret, csr }) => this.#issuer.enrol(id, secret, csr)).then(
      answer => {
        if ('why' in answer) this.#log.warn('gateway.enrolment-refused', { peer: address, why: answer.why })
        else this.#log.info('gateway.enrolled', { peer: address, id: answer.id })
        session.leave()
      },
    )
  }
}

function end(session: Session): void {
  session.destroy(constants.NGHTTP2_NO_ERROR)
  session.abandon()
}
