/**
 * A message to its reply: a function from bytes to bytes that any socket can feed.
 *
 *     bytes ─▶ readQuery ─▶ replies (a question known: stamp, out)
 *                 │            └ new ─▶ answer (our zones) ─▶ encode ─▶ stamp
 *                 │                        └ not ours ─▶ resolver (cache, upstreams) ─▶ stamp
 *                 └ malformed ─▶ fault reply, or silence
 */

import type { Change, Directory } from '../model/directory.ts'
import { messageOf } from '../model/error.ts'
import type { Client } from '../model/flow.ts'
import type { Log } from '../model/log.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import { Replies } from './answer-cache.ts'
import { joined } from './chase.ts'
import type { Resolver } from './forward/resolver.ts'
import { encode, type Sections } from './message/encode.ts'
import { type Fault, held, isPlain, labelsOf, type Query, readQuery } from './message/query.ts'
import { isUnchecked, queryMessage, question, questionNamed } from './message/question.ts'
import { minimalAny } from './message/record.ts'
import { faultReply, type Reply, replyOf, stamp, stampInto, truncatedReply } from './message/reply.ts'
import { type ExtendedError, extendedErrors, headerBytes, rcodes, tcpBytes, typeName, types } from './message/wire.ts'
import type { Settled } from './options.ts'
import { QueryLog } from './query-log.ts'
import { RateLimit } from './server/rate-limit.ts'
import type { Transport } from './server/udp.ts'
import { type Asking, Counters, type ZoneCounters } from './stats.ts'
import { Reverse } from './zones/address-index.ts'
import { sameEndpoints, sameFacts } from './zones/affects-dns.ts'
import { type Answer, answer, type Zones } from './zones/answer.ts'
import { autopath } from './zones/autopath.ts'
import { type Eyes, endpointsOf, everything, View } from './zones/view.ts'

export interface ReplierParts {
  readonly directory: Directory
  readonly chooser: Eyes
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** Encoded answers kept: a few per service of a large mesh, and what attackers make up for the rest. */
const keptReplies = { entries: 20_000, bytes: 32 << 20 }

const quietMs = 60_000

/** A reply, or its length when it was written into the room of the socket. */
type Sent = Buffer | number

export class Replier {
  readonly counters = new Counters()
  readonly queryLog: QueryLog
  readonly replies: Replies
  readonly zones: Zones
  readonly #parts: ReplierParts
  readonly #options: Settled
  readonly #resolver: Resolver
  readonly #reverse: Reverse
  readonly #limit: RateLimit
  readonly #stop: () => void
  /** For messages that did not come as far as a zone, and for names of the world, as CoreDNS labels them. */
  readonly #dropped: ZoneCounters
  readonly #world: ZoneCounters
  #turn: number
  #quietUntil = 0

  constructor(parts: ReplierParts, options: Settled, zones: Zones, resolver: Resolver) {
    const { directory, chooser, clock, random, log } = parts
    this.#parts = parts
    this.#options = options
    this.#resolver = resolver
    this.zones = zones
    this.replies = new Replies(directory, chooser, keptReplies)
    this.#reverse = new Reverse(directory, address => this.replies.forget(address))
    this.#stop = directory.onChange(change => this.#forget(change))
    this.#limit = new RateLimit(options.rate, clock)
    this.queryLog = new QueryLog(log, options.queryLog)
    this.#dropped = this.counters.zone('dropped')
    this.#world = this.counters.zone('.')
    this.#turn = Math.floor(random() * 0x10000)
  }

  close(): void {
    this.#stop()
    this.#reverse.close()
  }

  view(client: Client): View {
    return new View(client, this.#parts.directory, this.#reverse, this.#parts.chooser)
  }

  /** At once, or later when others must be asked; undefined is silence. Never throws and never rejects. */
  answer(message: Buffer, client: Client, transport: Transport): Buffer | undefined | Promise<Buffer | undefined> {
    // Without room there are no lengths.
    return this.#answer(message, message.length, client, transport, undefined) as Buffer | undefined
  }

  /** The same over UDP for the first `length` bytes of memory: a reply known at once is written into `room`; 0 is silence. */
  answerInto(room: Buffer, message: Buffer, length: number, client: Client): number | Promise<Buffer | undefined> {
    const reply = this.#answer(message, length, client, 'udp', room)
    if (typeof reply === 'number') return reply
    if (reply instanceof Promise) return reply as Promise<Buffer>
    return reply?.copy(room) ?? 0
  }

  #answer(
    message: Buffer,
    length: number,
    client: Client,
    transport: Transport,
    room: Buffer | undefined,
  ): Sent | undefined | Promise<Sent> {
    const query = readQuery(message, length)
    if (!query) return this.#silent()
    if (this.#limit.enabled && transport === 'udp') {
      const verdict = this.#limit.judge(client.address)
      if (verdict !== 'answer') return this.#limited(verdict === 'truncate', query)
    }
    if ('rcode' in query) return this.#fault(message, query)
    const asking: Asking = { query, client, transport, at: this.#parts.clock.now(), room }
    try {
      const known = this.replies.find(query, client)
      if (known?.reply) {
        this.counters.hits++
        // It takes no time that would be worth another look at the clock.
        return this.#send(asking, known.reply, known.zone, 0, asking.at)
      }
      return known ? this.#forward(asking) : this.#work(asking)
    } catch (error) {
      return this.#failed(asking, error)
    }
  }

  /** The slow way: nobody has asked this before, or not since it changed. */
  #work(asking: Asking): Sent | Promise<Sent> {
    const { query, client } = asking
    this.counters.misses++
    if (isMeta(query.type)) return this.#refuse(asking, 'no such records are kept here')
    const view = this.view(client)
    const labels = labelsOf(query)
    const found = answer(labels, query.type, view, this.zones)
    if (!found) {
      this.replies.keep(query, undefined, this.#world, view.seen)
      return this.#forward(asking)
    }
    const zone = this.counters.zone(found.zone)
    // Only who wants recursion gets what lies outside, so that such an answer is not kept for the others.
    if (!query.recursion && (found.elsewhere !== undefined || this.#options.autopath)) {
      return this.#send(asking, encoded(query, found), zone)
    }
    if (found.elsewhere !== undefined) return this.#chase(owned(asking), found, found.elsewhere, undefined)
    const further = this.#options.autopath ? autopath(labels, query.type, found, view, this.zones) : undefined
    if (further?.elsewhere !== undefined) return this.#chase(owned(asking), further, further.elsewhere, found)
    const reply = encoded(query, further ?? found)
    this.replies.keep(query, reply, zone, view.seen)
    return this.#send(asking, reply, zone)
  }

  #forward(asking: Asking): Sent | Promise<Sent> {
    const { query } = asking
    const known = this.#resolver.known(query)
    if (known) return this.#send(asking, known.reply, this.#world, known.ageSeconds)
    // The client wants to know what we know ourselves, and of this name that is nothing (RFC 1035 4.1.1).
    if (!query.recursion) return this.#refuse(asking, 'recursion was not asked for')
    if (query.type === types.ANY) return this.#send(asking, encoded(query, anyAnswer(query)), this.#world)
    if (this.#resolver.isProbe(query)) return this.#refuse(asking, 'this question is our own')
    const own = owned(asking)
    const resolved = this.#resolver.resolve(own.query, own.client)
    if (!resolved) return this.#refuse(asking, 'no upstream resolver is configured for this name')
    return resolved.then(
      ({ reply, ageSeconds }) => this.#send(own, reply, this.#world, ageSeconds),
      error => this.#failed(own, error),
    )
  }

  /** Follows an alias out of our zones. With `instead` the alias is only tried: what is not found there is answered so. */
  async #chase(asking: Asking, found: Answer, target: string, instead: Answer | undefined): Promise<Sent> {
    const zone = this.counters.zone(found.zone)
    try {
      const asked = foreignQuery(target, asking.query)
      const resolved = asked && (this.#resolver.known(asked) ?? (await this.#resolver.resolve(asked, asking.client)))
      const whole = resolved ? joined(found, resolved) : found
      const chosen = instead && (!resolved || whole.rcode !== rcodes.NOERROR) ? instead : whole
      return this.#send(asking, encoded(asking.query, chosen), zone)
    } catch (error) {
      return this.#failed(asking, error)
    }
  }

  #fault(message: Buffer, fault: Fault): Buffer {
    this.counters.refused(this.#dropped, fault.rcode)
    return faultReply(message, fault)
  }

  #silent(): undefined {
    this.counters.dropped++
    return undefined
  }

  #limited(truncate: boolean, query: Query | Fault): Buffer | undefined {
    this.counters.limited++
    return truncate && 'bytes' in query ? truncatedReply(query) : this.#silent()
  }

  #refuse(asking: Asking, text: string): Sent {
    const extended = { code: extendedErrors.prohibited, text }
    return this.#send(asking, bare(asking.query, rcodes.REFUSED, extended), this.#world)
  }

  #failed(asking: Asking, error: unknown): Sent {
    this.#complain(asking, error)
    return this.#send(asking, bare(asking.query, rcodes.SERVFAIL), this.#dropped)
  }

  /** At most once a minute: whatever a client can bring about, it can bring about often. */
  #complain({ query }: Asking, error: unknown): void {
    const now = this.#parts.clock.now()
    if (now < this.#quietUntil) return
    this.#quietUntil = now + quietMs
    this.#parts.log.error('dns answer failed', { type: typeName(query.type), error: messageOf(error) })
  }

  #send(asking: Asking, reply: Reply, zone: ZoneCounters, ageSeconds = 0, now = this.#parts.clock.now()): Sent {
    const { query, transport, room } = asking
    this.#turn = (this.#turn + 1) & 0xffff
    const mostBytes = transport === 'udp' ? query.udpBytes : tcpBytes
    const sent = room
      ? stampInto(room, reply, query, mostBytes, this.#turn, ageSeconds)
      : stamp(reply, query, mostBytes, this.#turn, ageSeconds)
    const length = typeof sent === 'number' ? sent : sent.length
    this.counters.count(zone, asking, reply.rcode, length, now)
    if (this.queryLog.filter) this.queryLog.saw(asking, zone.zone, reply.rcode, length, now)
    return sent
  }

  #forget(change: Change): void {
    this.replies.forget(everything)
    for (const { key, before, after } of change) {
      if (before && after && sameFacts(before, after)) this.replies.renew(before, after)
      else this.replies.forget(key)
      if (!before || !after || !sameEndpoints(before, after)) this.replies.forget(endpointsOf(key))
    }
  }
}

const empty: Sections = { answers: [], authority: [], additional: [] }

/** Types that are no records: transfers, and what belongs into other sections (RFC 6895 3.1). ANY has an answer. */
function isMeta(type: number): boolean {
  return type === 0 || type === types.OPT || (type >= 128 && type < types.ANY)
}

function anyAnswer(query: Query): Answer {
  const labels = labelsOf(query)
  const answers = isPlain(labels) ? [minimalAny(labels.join('.'), 3600)] : []
  return { zone: '.', rcode: rcodes.NOERROR, ...empty, answers }
}

function encoded(query: Query, found: Answer): Reply {
  const asked = query.bytes.subarray(headerBytes, query.end)
  return replyOf(encode(asked, { authoritative: true, rcode: found.rcode }, found), query.end, found.extended)
}

function bare(query: Query, rcode: number, extended?: ExtendedError): Reply {
  const asked = query.bytes.subarray(headerBytes, query.end)
  return replyOf(encode(asked, { authoritative: false, rcode }, empty), query.end, extended)
}

/** For answers that take their time: sockets may use their memory again. */
function owned(asking: Asking): Asking {
  return { ...asking, query: held(asking.query), room: undefined }
}

/** The question for another name on behalf of a query, as if the client had sent it. */
function foreignQuery(name: string, query: Query): Query | undefined {
  const { wire } = questionNamed(name, query.type)
  const asked = readQuery(queryMessage(question(wire, query.type, query.dnssec, isUnchecked(query)), 0, query.edns))
  return asked && !('rcode' in asked) ? asked : undefined
}
