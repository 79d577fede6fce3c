/** The DNS responder: wires zones, forwarding and sockets together, starts and stops them. */
import type { SocketAddress } from '../model/address.ts'
import type { Directory } from '../model/directory.ts'
import type { Problem } from '../model/error.ts'
import type { Client } from '../model/flow.ts'
import type { QuestionRecorder } from '../model/flows/question.ts'
import type { Log } from '../model/log.ts'
import type { BatchSocketClass } from '../model/sockets/batch-socket.ts'
import { Inherited, type PassedSocket, type PassingCalls } from '../model/sockets/passing.ts'
import type { DnsStats } from '../model/stats/dns.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import type { NameExplanation } from '../model/views.ts'
import type { NameAnswers } from '../model/workloads/name-answers.ts'
import { Access } from './access.ts'
import { explain } from './explain.ts'
import { Forwarder } from './forward/forwarder.ts'
import { Resolver } from './forward/resolver.ts'
import { Upstreams } from './forward/upstreams.ts'
import { type DnsOptions, type FullDnsOptions, type IsTrusted, type QueryFilter, withDefaults } from './options.ts'
import { QueryHandler } from './respond.ts'
import { type Listening, listen } from './server/listen.ts'
import type { Transport } from './transport.ts'
import type { Zones } from './zones/answer.ts'
import type { Visibility } from './zones/dependencies.ts'
import { specialUse } from './zones/special-use.ts'

export interface DnsParts {
  readonly directory: Directory
  /** Which services and backends a client may see: the chain. */
  readonly visibility: Visibility
  readonly options: DnsOptions
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Calls `changed` when the content of a file changes, behind any links, until it is stopped. Default: never. */
  readonly watchFiles?: (paths: readonly string[], changed: () => void) => () => void
  /** The addon's UDP sockets. Default: node:dgram. */
  readonly BatchSocket?: BatchSocketClass
  /** Is told of each question that was answered. */
  readonly recorder?: QuestionRecorder | undefined
  /** Is told of answers about names outside of our zones. */
  readonly names?: NameAnswers
}

export interface DnsResponder {
  /** Binds UDP and TCP. Rejects with `MeshError` LISTEN that names the address, the cause and the remedy. */
  start(inherited?: Inherited): Promise<void>
  /** Gives its sockets away. What has been asked is answered here; connections stay until `close`. `start` takes them back. */
  pass(calls: PassingCalls): PassedSocket[]
  /** The bound address. Undefined before `start` and after `close`. */
  readonly address: SocketAddress | undefined
  /** How many messages have come so far; wraps around. */
  readonly asked: number
  /** The reply to a message: at once, or later when an upstream must be asked. Never throws, never rejects. */
  respond(message: Buffer, client: Client, transport: Transport): Buffer | undefined | Promise<Buffer | undefined>
  /** The answer that a client would get for a name, and how it was made. */
  explain(name: string, type: string, client: Client): Promise<NameExplanation>
  /**
   * Other options from now on, for the same sockets: `listen` and `tcp` stay. Queries that wait for an upstream are answered as
   * they were asked.
   */
  configure(options: DnsOptions): Promise<void>
  /** Which queries to log from now on; undefined: none. */
  logQueries(filter: QueryFilter | undefined): void
  problems(): Problem[]
  stats(): DnsStats
  /** Stops receiving, sends the replies that are pending, waiting at most a second for upstreams, and closes the sockets. */
  close(): Promise<void>
}

/** How long `close` waits for upstreams; longer than one that answers takes. */
const closeWaitMs = 1000

export function createDnsResponder(parts: DnsParts): DnsResponder {
  return new Responder(parts)
}

/** All that depends on the options, but the sockets. */
interface Wiring {
  readonly options: FullDnsOptions
  readonly forwarder: Forwarder
  readonly upstreams: Upstreams
  readonly isTrusted: IsTrusted
  readonly resolver: Resolver
  readonly handler: QueryHandler
}

class Responder implements DnsResponder {
  readonly #parts: DnsParts
  /** Wirings that others have replaced, while upstreams may still answer them; the value closes one. */
  readonly #replaced = new Map<Wiring, () => void>()
  #now: Wiring
  #listening: Listening | undefined
  /** Whose sockets were given away. */
  readonly #passed: Listening[] = []
  #asked = 0

  constructor(parts: DnsParts) {
    this.#parts = parts
    this.#now = wired(parts, parts.options)
  }

  get address(): SocketAddress | undefined {
    return this.#listening?.address
  }

  async start(inherited = new Inherited()): Promise<void> {
    const { options, upstreams } = this.#now
    await upstreams.prepare()
    const { BatchSocket, clock } = this.#parts
    this.#listening = await listen(options.listen, options.tcp, {
      respond: (message, client, transport) => this.respond(message, client, transport),
      respondInto: (room, message, length, client) => {
        this.#asked = (this.#asked + 1) | 0
        return this.#now.handler.respondInto(room, message, length, client)
      },
      BatchSocket,
      isTrusted: address => this.#now.isTrusted(address),
      inherited,
      clock,
    })
    this.#now.upstreams.start(this.#listening.address)
  }

  pass(calls: PassingCalls): PassedSocket[] {
    const listening = this.#listening
    if (!listening) return []
    this.#passed.push(listening)
    return listening.pass(calls)
  }

  async configure(options: DnsOptions): Promise<void> {
    const before = this.#now
    const next = wired(this.#parts, options, before.handler)
    await next.upstreams.prepare()
    this.#now = next
    if (this.#listening) next.upstreams.start(this.#listening.address)
    const close = () => {
      stopTimer()
      this.#replaced.delete(before)
      before.upstreams.close()
      before.handler.close()
    }
    const stopTimer = this.#parts.clock.after(before.options.forward.totalMs, close)
    this.#replaced.set(before, close)
  }

  respond(message: Buffer, client: Client, transport: Transport): Buffer | undefined | Promise<Buffer | undefined> {
    this.#asked = (this.#asked + 1) | 0
    return this.#now.handler.respond(message, client, transport)
  }

  get asked(): number {
    return this.#asked
  }

  explain(name: string, type: string, client: Client): Promise<NameExplanation> {
    return explain(name, type, client, this.#now)
  }

  logQueries(filter: QueryFilter | undefined): void {
    this.#now.handler.queryLog.filter = filter
  }

  problems(): Problem[] {
    const { upstreams, forwarder } = this.#now
    return [...upstreams.problems(), ...forwarder.problems()]
  }

  stats(): DnsStats {
    const { handler, resolver, forwarder } = this.#now
    const { counters, answers } = handler
    const { refused, failures, ...cache } = resolver.counts
    return {
      requests: counters.requests(),
      responses: counters.responses(),
      zones: counters.zones(),
      dnssecRequests: counters.dnssecRequests,
      dropped: counters.dropped,
      limited: counters.limited,
      answerCache: { entries: answers.size, hits: counters.hits, misses: counters.misses },
      cache: { ...resolver.cacheSize, ...cache },
      forward: { inFlight: resolver.inFlight, refused, failures },
      upstreams: forwarder.upstreams.map(upstream => upstream.stats()),
      tcp: { connections: this.#listening?.tcp.connections ?? 0, refused: this.#listening?.tcp.refused ?? 0 },
    }
  }

  async close(): Promise<void> {
    const { upstreams, handler } = this.#now
    const stopWaiting = this.#parts.clock.after(closeWaitMs, () => {
      upstreams.close()
      this.#closeReplaced()
    })
    await Promise.all([this.#listening, ...this.#passed].map(listening => listening?.close()))
    stopWaiting()
    this.#listening = undefined
    upstreams.close()
    handler.close()
    this.#closeReplaced()
  }

  #closeReplaced(): void {
    for (const close of [...this.#replaced.values()]) close()
  }
}

/** `before`: the handler that the new one replaces, whose counters go on. */
function wired(parts: DnsParts, given: DnsOptions, before?: QueryHandler): Wiring {
  const { clock, random } = parts
  const options = withDefaults(given)
  const forwarder = new Forwarder(options.forward, clock, random)
  const upstreams = new Upstreams(options, forwarder, parts)
  const access = new Access(options.access)
  const isTrusted: IsTrusted = address => access.of(address).trusted
  const resolver = new Resolver(forwarder, options, isTrusted, clock, parts.names)
  const counters = before?.counters
  const handler = new QueryHandler({ ...parts, access, counters }, options, zonesOf(options), resolver)
  return { options, forwarder, upstreams, isTrusted, resolver, handler }
}

function zonesOf(options: FullDnsOptions): Zones {
  const { advertise: addresses, pods, hideEmpty, clusterset } = options
  const localhost = options.specialUse.includes('localhost')
  return {
    cluster: { origin: origin(options.domain), pods, addresses, hideEmpty, localhost },
    clusterset: clusterset === null ? undefined : { origin: origin(clusterset), addresses },
    networks: options.networks,
    special: specialUse(options.specialUse, Object.keys(options.routes)),
    ttlSeconds: Math.floor(options.ttlMs / 1000),
    searchNamespace: options.search ? options.searchNamespace : undefined,
  }
}

function origin(domain: string): string {
  return domain.toLowerCase().replace(/^\.|\.$/g, '')
}
