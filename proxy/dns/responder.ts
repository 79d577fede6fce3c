/**
 * The DNS server of Starlane: our own zones from the directory, all other names from upstream resolvers.
 *
 *     bytes ─▶ readQuery ─▶ replies (known question: stamp and out)
 *                   │            └ new question ─▶ answer (our zones) ─▶ encode ─▶ stamp
 *                   │                                   └ not ours ─▶ resolver ─▶ stamp
 *                   └ malformed ─▶ fault reply or silence
 */
import type { Clock, Random } from '../model/clock.ts'
import type { Directory } from '../model/directory.ts'
import { messageOf, type Problem } from '../model/error.ts'
import type { Client } from '../model/flow.ts'
import type { Log } from '../model/log.ts'
import { type Answer, answer, minimalAny, type Zones } from './answer.ts'
import { joined } from './chase.ts'
import { encode, type Sections } from './encode.ts'
import { Forwarder } from './forwarder.ts'
import { type Listening, listen } from './listen.ts'
import { type DnsOptions, type Settled, settle } from './options.ts'
import { type Fault, held, labelsOf, type Query, readQuery } from './query.ts'
import { queryMessage, question, questionNamed, questionOf } from './question.ts'
import { Replies } from './replies.ts'
import { faultReply, type Reply, replyOf, stamp } from './reply.ts'
import { type Resolved, Resolver } from './resolver.ts'
import { Reverse } from './reverse.ts'
import type { Endpoint, Transport } from './udp.ts'
import { Upstreams } from './upstreams.ts'
import { type Eyes, View } from './view.ts'
import { type ExtendedError, extendedErrors, headerBytes, rcodes, tcpBytes, types } from './wire.ts'

export interface DnsParts {
  readonly directory: Directory
  readonly chooser: Eyes
  readonly options: DnsOptions
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

export interface DnsResponder {
  /** Binds UDP and TCP. Rejects with `MeshError` LISTEN that names the address, the cause and the remedy. */
  start(): Promise<void>
  /** Where it listens; the port is the bound one. Undefined before `start` and after `close`. */
  readonly address: Endpoint | undefined
  /** A message to its reply, for any socket: at once, or later when others must be asked. Never throws, never rejects. */
  answer(message: Buffer, client: Client, transport: Transport): Buffer | undefined | Promise<Buffer | undefined>
  problems(): Problem[]
  /** Hears no more, answers what was asked, then frees the sockets. */
  close(): Promise<void>
}

export function createDnsResponder(parts: DnsParts): DnsResponder {
  return new Responder(parts)
}

const knownReplies = { entries: 20_000, bytes: 32 << 20 }

class Responder implements DnsResponder {
  readonly #parts: DnsParts
  readonly #options: Settled
  readonly #zones: Zones
  readonly #replies: Replies
  readonly #reverse: Reverse
  readonly #resolver: Resolver
  readonly #forwarder: Forwarder
  readonly #upstreams: Upstreams
  readonly #stopListening: () => void
  #listening: Listening | undefined
  #turn: number

  constructor(parts: DnsParts) {
    const { directory, chooser, clock, random } = parts
    this.#parts = parts
    this.#options = settle(parts.options)
    this.#zones = zonesOf(this.#options)
    this.#replies = new Replies(directory, chooser, knownReplies)
    this.#reverse = new Reverse(directory, address => this.#replies.forget(address))
    this.#stopListening = directory.onChange(change => {
      for (const { key } of change) this.#replies.forget(key)
    })
    this.#forwarder = new Forwarder(this.#options.forward, clock, random)
    this.#upstreams = new Upstreams(this.#options, this.#forwarder, parts)
    this.#resolver = new Resolver(this.#forwarder, this.#options, clock)
    this.#turn = Math.floor(random() * 0x10000)
  }

  get address(): Endpoint | undefined {
    return this.#listening?.address
  }

  async start(): Promise<void> {
    const { clock } = this.#parts
    const respond = this.answer.bind(this)
    this.#listening = await listen(this.#options.listen, this.#options.tcp, respond, clock)
    await this.#upstreams.start(this.#listening.address)
  }

  problems(): Problem[] {
    return [...this.#upstreams.problems(), ...this.#forwarder.problems()]
  }

  async close(): Promise<void> {
    await this.#listening?.close()
    this.#listening = undefined
    this.#upstreams.close()
    this.#stopListening()
    this.#reverse.close()
  }

  answer(message: Buffer, client: Client, transport: Transport): Buffer | undefined | Promise<Buffer | undefined> {
    const query = readQuery(message)
    if (!query) return undefined
    if ('rcode' in query) return faultReply(message, query)
    const known = this.#replies.find(query, client)
    if (known?.reply) return this.#stamp(known.reply, query, transport)
    try {
      return this.#work(query, client, transport, known !== undefined)
    } catch (error) {
      return this.#failed(query, transport, error)
    }
  }

  /** The slow way: the question was not asked before, or is for others. */
  #work(query: Query, client: Client, transport: Transport, foreign: boolean): Buffer | Promise<Buffer> {
    if (foreign) return this.#forward(query, transport)
    const fault = unserved(query)
    if (fault) return faultReply(query.bytes, fault)
    const { directory, chooser } = this.#parts
    const view = new View(client, directory, this.#reverse, chooser)
    const labels = labelsOf(query)
    const found = answer(labels, query.type, view, this.#zones)
    if (!found) {
      this.#replies.keep(query, { reply: undefined, zone: '', seen: view.seen })
      return this.#forward(query, transport)
    }
    if (found.elsewhere !== undefined) return this.#chase(held(query), transport, found, found.elsewhere)
    const reply = this.#encode(query, found)
    this.#replies.keep(query, { reply, zone: found.zone, seen: view.seen })
    return this.#stamp(reply, query, transport)
  }

  #forward(query: Query, transport: Transport): Buffer | Promise<Buffer> {
    const known = this.#resolver.known(query)
    if (known) return this.#stamp(known.reply, query, transport, known.ageSeconds)
    // RD clear: the client wants to know what we know, and of this name that is nothing (RFC 1035 4.1.1).
    if (((query.bytes[2] as number) & 0x01) === 0)
      return this.#refuse(query, transport, 'not ours and no recursion wanted')
    if (query.type === types.ANY) return this.#stamp(this.#encode(query, anyAnswer(query)), query, transport)
    const own = held(query)
    const resolved = this.#resolver.resolve(own)
    if (!resolved) return this.#refuse(query, transport, 'no upstream resolver for this name')
    return resolved
      .then(({ reply, ageSeconds }) => this.#stamp(reply, own, transport, ageSeconds))
      .catch(error => this.#failed(own, transport, error))
  }

  async #chase(query: Query, transport: Transport, found: Answer, target: string): Promise<Buffer> {
    try {
      const resolved = await this.#outside(target, query)
      return this.#stamp(this.#encode(query, resolved ? joined(found, resolved) : found), query, transport)
    } catch (error) {
      return this.#failed(query, transport, error)
    }
  }

  #outside(name: string, query: Query): Resolved | Promise<Resolved> | undefined {
    const { wire } = questionNamed(name, query.type)
    const { dnssec, unchecked } = questionOf(query)
    const asked = readQuery(queryMessage(question(wire, query.type, dnssec, unchecked), 0, dnssec))
    if (!asked || 'rcode' in asked) return undefined
    return this.#resolver.known(asked) ?? this.#resolver.resolve(asked)
  }

  #refuse(query: Query, transport: Transport, text: string): Buffer {
    const extended = { code: extendedErrors.prohibited, text }
    return this.#stamp(this.#bare(query, rcodes.REFUSED, extended), query, transport)
  }

  #failed(query: Query, transport: Transport, error: unknown): Buffer {
    this.#parts.log.error('dns answer failed', { type: query.type, error: messageOf(error) })
    return this.#stamp(this.#bare(query, rcodes.SERVFAIL), query, transport)
  }

  #bare(query: Query, rcode: number, extended?: ExtendedError): Reply {
    return replyOf(encode(questionBytes(query), { authoritative: false, rcode }, empty), query.end, extended)
  }

  #encode(query: Query, found: Answer): Reply {
    const bytes = encode(questionBytes(query), { authoritative: true, rcode: found.rcode }, found)
    return replyOf(bytes, query.end, found.extended)
  }

  #stamp(reply: Reply, query: Query, transport: Transport, ageSeconds = 0): Buffer {
    this.#turn = (this.#turn + 1) & 0xffff
    return stamp(reply, query, transport === 'udp' ? query.udpBytes : tcpBytes, this.#turn, ageSeconds)
  }
}

const empty: Sections = { answers: [], authority: [], additional: [] }

function zonesOf(options: Settled): Zones {
  const cluster = origin(options.domain)
  return {
    cluster: { origin: cluster, pods: options.pods, addresses: options.advertise, hideEmpty: options.hideEmpty },
    clusterset:
      options.clusterset === null ? undefined : { origin: origin(options.clusterset), addresses: options.advertise },
    networks: options.networks,
    ttlSeconds: Math.floor(options.ttlMs / 1000),
    searchNamespace: options.search ? options.searchNamespace : undefined,
  }
}

function origin(domain: string): string {
  return domain.toLowerCase().replace(/^\.|\.$/g, '')
}

/** Types that are no records: transfers, and what belongs into other sections. */
function unserved(query: Query): Fault | undefined {
  const { type, end, edns } = query
  const meta = type === 0 || type === types.OPT || (type >= 128 && type < types.ANY)
  return meta ? { rcode: rcodes.REFUSED, end, edns } : undefined
}

function anyAnswer(query: Query): Answer {
  return { zone: '', rcode: rcodes.NOERROR, ...empty, answers: [minimalAny(labelsOf(query).join('.'), 3600)] }
}

function questionBytes(query: Query): Buffer {
  return query.bytes.subarray(headerBytes, query.end)
}
