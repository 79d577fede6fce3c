/**
 * From a message to its reply; the way of every query can be read here from top to bottom.
 *
 *     readQuery ─▶ rate limit ─▶ answer cache ─ hit ─▶ send: stamp, count, log
 *                                   │ miss                       ▲
 *                                   ▼                            │
 *                               our zones ─▶ encode, cache ──────┤
 *                                   │ another name               │
 *                                   ▼                            │
 *                               forward: cache, upstreams ───────┘
 *
 * A hit allocates the query and the request, no strings and no records. docs/life-of-a-question.md names the files in order.
 */
import type { Directory } from '../model/directory.ts'
import { messageOf } from '../model/error.ts'
import type { Client } from '../model/flow.ts'
import type { QuestionRecorder } from '../model/flows/question.ts'
import type { Log } from '../model/log.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import type { Access } from './access.ts'
import { AnswerCache } from './answer-cache.ts'
import { chase } from './chase.ts'
import { Counters, type ZoneCounters } from './counters.ts'
import type { Resolver } from './forward/resolver.ts'
import { addressesOf } from './message/addresses.ts'
import { encodeReply, noRecords, type Sections } from './message/encode.ts'
import { type Fault, isPlain, labelsOf, nameOf, type Query, readQuery } from './message/query.ts'
import { minimalAny } from './message/record.ts'
import { faultReply, type Reply, stamp, stampInto, truncatedReply } from './message/reply.ts'
import { extendedErrors, isMetaType, rcodes, tcpBytes, typeName, types } from './message/wire.ts'
import type { FullDnsOptions } from './options.ts'
import { QueryLog } from './query-log.ts'
import { type RateDecision, RateLimit } from './rate-limit.ts'
import { type DnsRequest, detached } from './request.ts'
import type { Transport } from './transport.ts'
import { AddressIndex } from './zones/address-index.ts'
import { type Answer, answer, type Zones } from './zones/answer.ts'
import { autopath } from './zones/autopath.ts'
import type { Visibility } from './zones/dependencies.ts'
import { View } from './zones/view.ts'

export interface QueryHandlerParts {
  readonly directory: Directory
  readonly visibility: Visibility
  readonly access: Access
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Goes on counting for a handler that this one replaces. */
  readonly counters?: Counters | undefined
  readonly recorder?: QuestionRecorder | undefined
}

/** A reply in a buffer of its own, or the length of one written into the request's `room`. */
type Sent = Buffer | number

/** A client can provoke failures at any rate, so they are logged at most this often. */
const failureLogMs = 60_000

export class QueryHandler {
  readonly counters: Counters
  readonly queryLog: QueryLog
  readonly answers: AnswerCache
  readonly zones: Zones
  readonly #parts: QueryHandlerParts
  readonly #options: FullDnsOptions
  readonly #resolver: Resolver
  readonly #addresses: AddressIndex
  readonly #access: Access
  readonly #rateLimit: RateLimit
  /** Whether any client is refused or limited: at a loopback address none is, by default. */
  readonly #guarded: boolean
  readonly #recorder: QuestionRecorder | undefined
  /** Counters for invalid and failed queries, and for names outside our zones; labelled as in CoreDNS. */
  readonly #droppedZone: ZoneCounters
  readonly #rootZone: ZoneCounters
  /** Which of several addresses comes first in the next reply. */
  #rotation: number
  #nextFailureLog = 0

  constructor(parts: QueryHandlerParts, options: FullDnsOptions, zones: Zones, resolver: Resolver) {
    const { directory, visibility, access, clock, random, log } = parts
    this.#parts = parts
    this.counters = parts.counters ?? new Counters()
    this.#options = options
    this.#resolver = resolver
    this.zones = zones
    this.answers = new AnswerCache(directory, visibility)
    this.#addresses = new AddressIndex(directory, address => this.answers.drop(address))
    this.#access = access
    this.#rateLimit = new RateLimit(options.rate, clock)
    this.#guarded = options.access.allow !== undefined || this.#rateLimit.enabled
    this.queryLog = new QueryLog(log, options.queryLog)
    this.#recorder = parts.recorder
    this.#droppedZone = this.counters.zone('dropped')
    this.#rootZone = this.counters.zone('.')
    this.#rotation = Math.floor(random() * 0x10000)
  }

  close(): void {
    this.answers.close()
    this.#addresses.close()
  }

  /** What the client may see of the directory. */
  view(client: Client): View {
    return new View(client, this.#parts.directory, this.#addresses, this.#parts.visibility)
  }

  /** See `Respond`. */
  respond(message: Buffer, client: Client, transport: Transport): Buffer | undefined | Promise<Buffer | undefined> {
    // Without `room` every reply is a buffer.
    return this.#handle(message, message.length, client, transport, undefined) as Buffer | undefined
  }

  /** See `RespondInto`. */
  respondInto(room: Buffer, message: Buffer, length: number, client: Client): number | Promise<Buffer | undefined> {
    const sent = this.#handle(message, length, client, 'udp', room)
    if (typeof sent === 'number') return sent
    if (sent instanceof Promise) return sent as Promise<Buffer>
    return sent?.copy(room) ?? 0
  }

  #handle(
    message: Buffer,
    length: number,
    client: Client,
    transport: Transport,
    room: Buffer | undefined,
  ): Sent | undefined | Promise<Sent> {
    const query = readQuery(message, length)
    if (!query) return this.#drop()
    if (this.#guarded) {
      const access = this.#access.of(client.address)
      if (transport === 'udp' && this.#rateLimit.enabled && access.limited) {
        const decision = this.#rateLimit.decide(client.address)
        if (decision !== 'answer') return this.#overRate(decision, query)
      }
      if (!access.allowed) return this.#deny(query, message, client, transport)
    }
    if ('rcode' in query) return this.#fault(message, query)
    const request: DnsRequest = { query, client, transport, at: this.#parts.clock.now(), room }
    try {
      const cached = this.answers.find(query, client)
      if (!cached) return this.#answerFromZones(request)
      if (!cached.reply) return this.#forward(request)
      this.counters.hits++
      // A hit takes so little time that the clock is not read again.
      return this.#send(request, cached.reply, cached.zone, 0, request.at)
    } catch (error) {
      return this.#failed(request, error)
    }
  }

  /** A miss: the question is new, or something its answer depended on has changed. */
  #answerFromZones(request: DnsRequest): Sent | Promise<Sent> {
    const { query, client } = request
    this.counters.misses++
    if (isMetaType(query.type)) return this.#refuse(request, 'queries of this type are not supported')
    const view = this.view(client)
    const labels = labelsOf(query)
    const found = answer(labels, query.type, view, this.zones)
    if (!found) {
      this.answers.put(query, undefined, this.#rootZone, view.dependencies)
      return this.#forward(request)
    }
    const zone = this.counters.zone(found.zone)
    // Only clients that ask for recursion get records from outside our zones; the answer to others is not cached for them.
    if (!query.recursion && (found.externalTarget !== undefined || this.#options.autopath)) {
      return this.#send(request, authoritative(query, found), zone)
    }
    if (found.externalTarget !== undefined)
      return this.#chase(detached(request), found, found.externalTarget, undefined)
    const completed = this.#options.autopath ? autopath(labels, query.type, found, view, this.zones) : undefined
    if (completed?.externalTarget !== undefined) {
      return this.#chase(detached(request), completed, completed.externalTarget, found)
    }
    const reply = authoritative(query, completed ?? found)
    this.answers.put(query, reply, zone, view.dependencies)
    return this.#send(request, reply, zone)
  }

  /** Follows an alias out of our zones. `fallback` is sent instead when the target cannot be resolved. */
  async #chase(request: DnsRequest, found: Answer, target: string, fallback: Answer | undefined): Promise<Sent> {
    const zone = this.counters.zone(found.zone)
    try {
      const joined = await chase(request, found, target, this.#resolver)
      const chosen = fallback && joined?.rcode !== rcodes.NOERROR ? fallback : (joined ?? found)
      return this.#send(request, authoritative(request.query, chosen), zone)
    } catch (error) {
      return this.#failed(request, error)
    }
  }

  /** A name outside our zones: from the cache of upstream replies, else from an upstream. */
  #forward(request: DnsRequest): Sent | Promise<Sent> {
    const { query } = request
    const cached = this.#resolver.cachedAnswer(query)
    if (cached) return this.#send(request, cached.reply, this.#rootZone, cached.ageSeconds)
    // Without RD the client asks only for what we know ourselves (RFC 1035 4.1.1).
    if (!query.recursion) return this.#refuse(request, 'recursion was not requested')
    if (query.type === types.ANY) return this.#send(request, authoritative(query, anyRecords(query)), this.#rootZone)
    if (this.#resolver.isLoopProbe(query)) return this.#refuse(request, 'this query is our own loop probe')
    const waiting = detached(request)
    const resolved = this.#resolver.resolve(waiting.query, waiting.client)
    if (!resolved) return this.#refuse(request, 'no upstream resolver is configured for this name')
    return resolved.then(
      ({ reply, ageSeconds }) => this.#send(waiting, reply, this.#rootZone, ageSeconds),
      error => this.#failed(waiting, error),
    )
  }

  /** Every reply to a valid query leaves here. */
  #send(request: DnsRequest, reply: Reply, zone: ZoneCounters, ageSeconds = 0, now = this.#parts.clock.now()): Sent {
    const { query, transport, room } = request
    this.#rotation = (this.#rotation + 1) & 0xffff
    const maxBytes = transport === 'udp' ? query.udpBytes : tcpBytes
    const sent = room
      ? stampInto(room, reply, query, maxBytes, this.#rotation, ageSeconds)
      : stamp(reply, query, maxBytes, this.#rotation, ageSeconds)
    const length = typeof sent === 'number' ? sent : sent.length
    this.counters.count(zone, request, reply.rcode, length, now)
    if (this.queryLog.filter) this.queryLog.write(request, zone.zone, reply.rcode, length, now)
    if (this.#recorder?.wants(now)) this.#record(request, zone, reply, length, now)
    return sent
  }

  #record(
    request: Omit<DnsRequest, 'room'>,
    { zone }: ZoneCounters,
    reply: Pick<Reply, 'rcode'> | Reply,
    bytes: number,
    now: number,
  ): void {
    const { query, client, transport, at } = request
    const name = nameOf(query)
    const { rcode } = reply
    const addresses = 'bytes' in reply ? addressesOf(reply).list : []
    this.#recorder?.question({
      client,
      name,
      type: query.type,
      transport,
      zone,
      rcode,
      addresses,
      bytes,
      at,
      ms: now - at,
    })
  }

  #refuse(request: DnsRequest, text: string): Sent {
    const extended = { code: extendedErrors.prohibited, text }
    const flags = { authoritative: false, rcode: rcodes.REFUSED }
    return this.#send(request, encodeReply(request.query, flags, noRecords, extended), this.#rootZone)
  }

  #failed(request: DnsRequest, error: unknown): Sent {
    this.#logFailure(request, error)
    const flags = { authoritative: false, rcode: rcodes.SERVFAIL }
    return this.#send(request, encodeReply(request.query, flags, noRecords), this.#droppedZone)
  }

  #logFailure({ query }: DnsRequest, error: unknown): void {
    const now = this.#parts.clock.now()
    if (now < this.#nextFailureLog) return
    this.#nextFailureLog = now + failureLogMs
    this.#parts.log.error('dns.answer.failed', { type: typeName(query.type), error: messageOf(error) })
  }

  #fault(message: Buffer, fault: Fault): Buffer {
    this.counters.refused(this.#droppedZone, fault.rcode)
    return faultReply(message, fault)
  }

  /** A client outside `dns.allow`. A small reply, which counts against its rate. */
  #deny(query: Query | Fault, message: Buffer, client: Client, transport: Transport): Buffer {
    const { end, edns } = query
    const reply = this.#fault(message, { rcode: rcodes.REFUSED, end, edns })
    const at = this.#parts.clock.now()
    if ('bytes' in query && this.#recorder?.wants(at)) {
      this.#record({ query, client, transport, at }, this.#droppedZone, { rcode: rcodes.REFUSED }, reply.length, at)
    }
    return reply
  }

  #overRate(decision: RateDecision, query: Query | Fault): Buffer | undefined {
    this.counters.limited++
    return decision === 'truncate' && 'bytes' in query ? truncatedReply(query) : this.#drop()
  }

  #drop(): undefined {
    this.counters.dropped++
    return undefined
  }
}

function authoritative(query: Query, found: Sections & Pick<Answer, 'rcode' | 'extended'>): Reply {
  return encodeReply(query, { authoritative: true, rcode: found.rcode }, found, found.extended)
}

/** The answer to ANY for a name outside our zones, which no upstream is asked. */
function anyRecords(query: Query): Sections & Pick<Answer, 'rcode'> {
  const labels = labelsOf(query)
  const answers = isPlain(labels) ? [minimalAny(labels.join('.'), 3600)] : []
  return { ...noRecords, rcode: rcodes.NOERROR, answers }
}
