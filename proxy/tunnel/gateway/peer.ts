/** One session of another cluster at a gateway: its certificate is accepted, and each of its streams is looked at by itself. */
import { constants } from 'node:http2'
import type { CloseReason } from '../../model/flow.ts'
import type { Shown } from '../certificates/examine.ts'
import type { Material } from '../certificates/material.ts'
import { renewPath, renewRequest, serveRequest } from '../enrolment/wire.ts'
import type { Arrival, ServerStream, Session } from '../server/door.ts'
import { originOf } from '../wire/forwarded.ts'
import { healthPath } from '../wire/health-lines.ts'
import { sessionMemory, streamsPerSession, streamWindow } from '../wire/settings.ts'
import { parseTarget, parseUdpPath, type Target } from '../wire/target.ts'
import type { GatewayContext } from './context.ts'
import { answer, type GatewayFlow, notHere, type PeerClient } from './flow.ts'
import { HealthFeed } from './health-feed.ts'
import { GatewayTcpFlow } from './tcp-flow.ts'
import { GatewayUdpFlow } from './udp-flow.ts'

/** A peer of which nothing has come for so long although it owes an answer is gone: as long as its own side waits. */
const ping = { everyMs: 10_000, answerMs: 30_000 }

/** How long a peer that is cut may take to read why. */
const lastWordsMs = 1000

export class Peer {
  readonly client: PeerClient
  readonly shown: Shown
  /** With the roots that its certificate leads to. */
  material: Material
  readonly since: number
  readonly flows = new Set<GatewayFlow>()
  readonly #context: GatewayContext
  readonly #session: Session
  readonly #feeds = new Set<HealthFeed>()
  readonly #closed: () => void
  #pingedAt: number | undefined
  /** Bytes, at the last look. */
  #received = 0
  #lastPing = 0
  #window = streamWindow(0)
  #renewing = false

  /** `closed` is called once, when nothing is left of it. */
  constructor(
    context: GatewayContext,
    arrival: Arrival,
    client: PeerClient,
    shown: Shown,
    material: Material,
    closed: () => void,
  ) {
    this.client = client
    this.shown = shown
    this.material = material
    this.#context = context
    this.#closed = closed
    this.since = context.clock.wall()
    this.#session = arrival.begin(
      { streams: streamsPerSession, memory: sessionMemory },
      {
        stream: stream => this.#onStream(stream),
        failed: why => context.log.debug('gateway.session-failed', { peer: client.address, why }),
        ended: () => this.#ended(),
      },
    )
  }

  /** Called about every second. */
  tick(now: number): void {
    for (const flow of this.flows) flow.tick(now)
    const received = this.#session.received()
    if (received !== this.#received) {
      this.#received = received
      this.#pingedAt = undefined
    }
    if (this.#pingedAt !== undefined && now - this.#pingedAt >= ping.answerMs) return this.cut('backend-lost')
    if (this.#pingedAt === undefined && now - this.#lastPing >= ping.everyMs) this.#ping(now)
  }

  /** Takes no new streams; ends when those in progress have. */
  leave(): void {
    for (const feed of this.#feeds) feed.close()
    this.#session.leave()
  }

  cut(reason: CloseReason, code: number = constants.NGHTTP2_NO_ERROR): void {
    for (const flow of [...this.flows]) flow.cut(reason)
    this.#session.destroy(code)
    this.#context.clock.after(lastWordsMs, () => this.#session.abandon())
  }

  #ping(now: number): void {
    if (this.#session.isOver) return
    this.#pingedAt = now
    this.#lastPing = now
    this.#session.ping(() => {
      this.#pingedAt = undefined
    })
  }

  #onStream(stream: ServerStream): void {
    const { headers } = stream
    const method = headers[':method']
    const protocol = headers[':protocol']
    const authority = String(headers[':authority'] ?? '')
    const origin = originOf(headers.forwarded)
    const client = origin === undefined ? this.client : { ...this.client, origin }
    if (method === 'CONNECT' && protocol === undefined)
      return this.#connect(stream, parseTarget(authority), 'TCP', client)
    if (method === 'CONNECT' && protocol === 'connect-udp')
      return this.#connect(stream, parseUdpPath(String(headers[':path'] ?? '')), 'UDP', client)
    if (method === 'GET' && headers[':path'] === healthPath) return this.#feed(stream)
    if (method === 'POST' && headers[':path'] === renewPath) return this.#renew(stream)
    answer(stream, method === 'CONNECT' ? 400 : 405, 'http_request_error', 'only CONNECT is served here')
  }

  #connect(stream: ServerStream, target: Target | undefined, protocol: 'TCP' | 'UDP', client: PeerClient): void {
    const { offers, log } = this.#context
    if (!target)
      return answer(
        stream,
        400,
        'http_request_error',
        'the authority is neither ADDRESS:PORT nor SERVICE.NAMESPACE:PORT',
      )
    const found = offers.find(target, protocol)
    const [first] = found
    if (!first) {
      log.info('gateway.unknown-target', { cluster: this.client.identity.cluster, target: textOf(target), protocol })
      return answer(stream, 401, 'destination_ip_prohibited', notHere)
    }
    if (client.double && protocol === 'UDP')
      return answer(stream, 400, 'http_request_error', 'double HBONE carries no datagrams')
    const Kind = protocol === 'TCP' ? GatewayTcpFlow : GatewayUdpFlow
    const flow: GatewayFlow = new Kind(this.#context, stream, client, first, () => {
      this.flows.delete(flow)
      this.#fitWindow()
    })
    this.flows.add(flow)
    this.#fitWindow()
    flow.begin(found)
  }

  #feed(stream: ServerStream): void {
    if (this.#feeds.size > 0 || this.#context.draining) {
      return answer(stream, 503, 'connection_limit_reached', 'this session has a stream of health already')
    }
    const feed = new HealthFeed(this.#context, stream, this.client, () => this.#feeds.delete(feed))
    this.#feeds.add(feed)
  }

  /** A certificate for the id that the session has shown, and for no other. */
  #renew(stream: ServerStream): void {
    const { issuer, log } = this.#context
    const { id } = this.client.identity
    if (!issuer || this.#renewing) return answer(stream, 405, 'http_request_error', 'no certificate is issued here')
    this.#renewing = true
    void serveRequest(stream, renewRequest, ({ csr }) => issuer.renew(this.shown.certificate, id, csr)).then(
      outcome => {
        this.#renewing = false
        if ('why' in outcome) log.warn('gateway.renewal-refused', { peer: this.client.address, id, why: outcome.why })
        else log.info('gateway.renewed', { peer: this.client.address, id })
      },
    )
  }

  /** What streams that are not read may hold together is bounded: the more are open, the smaller their windows. */
  #fitWindow(): void {
    const window = streamWindow(this.#context.streams.size)
    if (window === this.#window || this.#session.isOver) return
    this.#window = window
    this.#session.setWindow(window)
  }

  #ended(): void {
    for (const feed of this.#feeds) feed.close()
    for (const flow of [...this.flows]) flow.cut('client-reset')
    this.#closed()
  }
}

function textOf(target: Target): string {
  return 'address' in target ? `${target.address}:${target.port}` : `${target.name}.${target.namespace}:${target.port}`
}
