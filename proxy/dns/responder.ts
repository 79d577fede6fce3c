/** The DNS responder: wires zones, forwarding and sockets together, starts and stops them. */
import type { SocketAddress } from '../model/address.ts'
import type { BatchSocketClass } from '../model/batch-socket.ts'
import type { Directory } from '../model/directory.ts'
import type { Problem } from '../model/error.ts'
import type { Client } from '../model/flow.ts'
import type { Log } from '../model/log.ts'
import type { DnsStats } from '../model/stats/dns.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import type { NameExplanation } from '../model/views.ts'
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
}

export interface DnsResponder {
  /** Binds UDP and TCP. Rejects with `MeshError` LISTEN that names the address, the cause and the remedy. */
  start(): Promise<void>
  /** The bound address. Undefined before `start` and after `close`. */
  readonly address: SocketAddress | undefined
  /** The reply to a message: at once, or later when an upstream must be asked. Never throws, never rejects. */
  respond(message: Buffer, client: Client, transport: Transport): Buffer | undefined | Promise<Buffer | undefined>
  /** The answer that a client would get for a name, and how it was made. */
  explain(name: string, type: string, client: Client): Promise<NameExplanation>
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

class Responder implements DnsResponder {
  readonly #parts: DnsParts
  readonly #options: FullDnsOptions
  readonly #forwarder: Forwarder
  readonly #upstreams: Upstreams
  readonly #isTrusted: IsTrusted
  readonly #resolver: Resolver
  readonly #handler: QueryHandler
  #listening: Listening | undefined

  constructor(parts: DnsParts) {
    const { clock, random } = parts
    this.#parts = parts
    this.#options = withDefaults(parts.options)
    this.#forwarder = new Forwarder(this.#options.forward, clock, random)
    this.#upstreams = new Upstreams(this.#options, this.#forwarder, parts)
    const access = new Access(this.#options.access)
    this.#isTrusted = address => access.of(address).trusted
    this.#resolver = new Resolver(this.#forwarder, this.#options, this.#isTrusted, clock)
    this.#handler = new QueryHandler({ ...parts, access }, this.#options, zonesOf(this.#options), this.#resolver)
  }

  get address(): SocketAddress | undefined {
    return this.#listening?.address
  }

  async start(): Promise<void> {
    await this.#upstreams.prepare()
    const { BatchSocket, clock } = this.#parts
    const handler = this.#handler
    this.#listening = await listen(this.#options.listen, this.#options.tcp, {
      respond: (message, client, transport) => handler.respond(message, client, transport),
      respondInto: (room, message, length, client) => handler.respondInto(room, message, length, client),
      BatchSocket,
      isTrusted: this.#isTrusted,
      clock,
    })
    this.#upstreams.start(this.#listening.address)
  }

  respond(message: Buffer, client: Client, transport: Transport): Buffer | undefined | Promise<Buffer | undefined> {
    return this.#handler.respond(message, client, transport)
  }

  explain(name: string, type: string, client: Client): Promise<NameExplanation> {
    return explain(name, type, client, {
      handler: this.#handler,
      resolver: this.#resolver,
      forwarder: this.#forwarder,
    })
  }

  logQueries(filter: QueryFilter | undefined): void {
    this.#handler.queryLog.filter = filter
  }

  problems(): Problem[] {
    return [...this.#upstreams.problems(), ...this.#forwarder.problems()]
  }

  stats(): DnsStats {
    const { counters, answers } = this.#handler
    const { refused, failures, ...cache } = this.#resolver.counts
    return {
      requests: counters.requests(),
      responses: counters.responses(),
      zones: counters.zones(),
      dnssecRequests: counters.dnssecRequests,
      dropped: counters.dropped,
      limited: counters.limited,
      answerCache: { entries: answers.size, hits: counters.hits, misses: counters.misses },
      cache: { ...this.#resolver.cacheSize, ...cache },
      forward: { inFlight: this.#resolver.inFlight, refused, failures },
      upstreams: this.#forwarder.upstreams.map(upstream => upstream.stats()),
      tcp: { connections: this.#listening?.tcp.connections ?? 0, refused: this.#listening?.tcp.refused ?? 0 },
    }
  }

  async close(): Promise<void> {
    const stopWaiting = this.#parts.clock.after(closeWaitMs, () => this.#upstreams.close())
    await this.#listening?.close()
    stopWaiting()
    this.#listening = undefined
    this.#upstreams.close()
    this.#handler.close()
  }
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
