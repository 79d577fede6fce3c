/** The gateway's side of a connection without a certificate: it may ask for one with a token, and nothing else. */
import { constants, performServerHandshake, type ServerHttp2Session } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import type { Log } from '../../model/log.ts'
import type { Clock } from '../../model/time/clock.ts'
import { serverSettings } from '../wire/settings.ts'
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
  readonly #sessions = new Set<ServerHttp2Session>()

  constructor(issuer: Issuer, clock: Clock, log: Log) {
    this.#issuer = issuer
    this.#clock = clock
    this.#log = log
  }

  /** Takes the connection, or returns why not. */
  open(socket: TLSSocket, address: string): string | undefined {
    if (this.#sessions.size >= maxSessions) return `${maxSessions} enrolments are in progress, the limit`
    const settings = { ...serverSettings, maxConcurrentStreams: 1, enableConnectProtocol: false }
    const session = performServerHandshake(socket, { settings, maxSessionMemory: 1 })
    this.#sessions.add(session)
    const end = () => {
      session.destroy()
      socket.destroy()
    }
    const cancel = this.#clock.after(sessionMs, end)
    session.on('error', () => {})
    session.once('close', () => {
      cancel()
      this.#sessions.delete(session)
    })
    session.on('stream', (stream, headers) => {
      stream.on('error', () => {})
      if (headers[':method'] !== 'POST' || headers[':path'] !== enrolPath)
        return stream.close(constants.NGHTTP2_REFUSED_STREAM)
      void serveRequest(stream, enrolRequest, ({ id, secret, csr }) => this.#issuer.enrol(id, secret, csr)).then(
        answer => {
          if ('why' in answer) this.#log.warn('gateway.enrolment-refused', { peer: address, why: answer.why })
          else this.#log.info('gateway.enrolled', { peer: address, id: answer.id })
          session.close()
        },
      )
    })
    return undefined
  }

  destroy(): void {
    for (const session of this.#sessions) session.destroy()
  }
}
