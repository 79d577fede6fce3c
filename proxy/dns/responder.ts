/** The DNS server of Starlane: our own zones from the directory, all other names from upstream resolvers. */
import type { BatchSockets } from '../model/batch-socket.ts'
import type { Directory } from '../model/directory.ts'
import type { Problem } from '../model/error.ts'
import type { Client } from '../model/flow.ts'
import type { Log } from '../model/log.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import { type Explanation, explain } from './explain.ts'
import { Forwarder } from './forward/forwarder.ts'
import { Resolver } from './forward/resolver.ts'
import { Upstreams } from './forward/upstreams.ts'
import { type DnsOptions, type Settled, settle } from './options.ts'
import type { QueryFilter } from './query-log.ts'
import { Replier } from './respond.ts'
import { type Listening, listen } from './server/listen.ts'
import type { Endpoint, Transport } from './server/udp.ts'
import type { DnsStats } from './stats.ts'
import type { Zones } from './zones/answer.ts'
import type { Eyes } from './zones/view.ts'

export interface DnsParts {
  readonly directory: Directory
  readonly chooser: Eyes
  readonly options: DnsOptions
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** UDP in batches, where the addon was built; default node:dgram. */
  readonly sockets?: BatchSockets
}

export interface DnsResponder {
  /** Binds UDP and TCP. Rejects with `MeshError` LISTEN that names the address, the cause and the remedy. */
  start(): Promise<void>
  /** Where it listens, with the bound port. Undefined before `start` and after `close`. */
  readonly address: Endpoint | undefined
  /** A message to its reply, for any socket: at once, or later when others must be asked. Never throws, never rejects. */
  answer(message: Buffer, client: Client, transport: Transport): Buffer | undefined | Promise<Buffer | undefined>
  /** What a client would be told of a name, and how that comes about. */
  explain(name: string, type: string, client: Client): Promise<Explanation>
  /** Writes queries to the log from now on: all, some, or with `undefined` none. */
  logQueries(filter: QueryFilter | undefined): void
  problems(): Problem[]
  stats(): DnsStats
  /** Hears no more, answers what was asked, then frees the sockets: at once, or when resolvers have had a second more. */
  close(): Promise<void>
}

/** Longer than a resolver that answers takes. After it the address is free for the next, whoever still keeps silent. */
const patienceMs = 1000

export function createDnsResponder(parts: DnsParts): DnsResponder {
  return new Responder(parts)
}

class Responder implements DnsResponder {
  readonly #parts: DnsParts
  readonly #options: Settled
  readonly #forwarder: Forwarder
  readonly #upstreams: Upstreams
  readonly #resolver: Resolver
  readonly #replier: Replier
  #listening: Listening | undefined

  constructor(parts: DnsParts) {
    const { clock, random } = parts
    this.#parts = parts
    this.#options = settle(parts.options)
    this.#forwarder = new Forwarder(this.#options.forward, clock, random)
    this.#upstreams = new Upstreams(this.#options, this.#forwarder, parts)
    this.#resolver = new Resolver(this.#forwarder, this.#options, clock)
    this.#replier = new Replier(parts, this.#options, zonesOf(this.#options), this.#resolver)
  }

  get address(): Endpoint | undefined {
    return this.#listening?.address
  }

  async start(): Promise<void> {
    await this.#upstreams.prepare()
    const { sockets, clock } = this.#parts
    const replier = this.#replier
    this.#listening = await listen(this.#options.listen, this.#options.tcp, {
      respond: (message, client, transport) => replier.answer(message, client, transport),
      respondInto: (room, message, length, client) => replier.answerInto(room, message, length, client),
      sockets,
      clock,
    })
    this.#upstreams.start(this.#listening.address)
  }

  answer(message: Buffer, client: Client, transport: Transport): Buffer | undefined | Promise<Buffer | undefined> {
    return this.#replier.answer(message, client, transport)
  }

  explain(name: string, type: string, client: Client): Promise<Explanation> {
    return explain(name, type, client, {
      replier: this.#replier,
      resolver: this.#resolver,
      forwarder: this.#forwarder,
    })
  }

  logQueries(filter: QueryFilter | undefined): void {
    this.#replier.queryLog.filter = filter
  }

  problems(): Problem[] {
    return [...this.#upstreams.problems(), ...this.#forwarder.problems()]
  }

  stats(): DnsStats {
    const { counters, replies } = this.#replier
    const { refused, failures, ...cache } = this.#resolver.counts
    return {
      requests: counters.requests(),
      responses: counters.responses(),
      zones: counters.zones(),
      dnssecRequests: counters.dnssecRequests,
      dropped: counters.dropped,
      limited: counters.limited,
      replies: { entries: replies.size, hits: counters.hits, misses: counters.misses },
      cache: { ...this.#resolver.cached, ...cache },
      forward: { inFlight: this.#resolver.inFlight, refused, failures },
      upstreams: this.#forwarder.upstreams.map(upstream => upstream.stats()),
      tcp: { connections: this.#listening?.tcp.connections ?? 0, refused: this.#listening?.tcp.refused ?? 0 },
    }
  }

  async close(): Promise<void> {
    const stopWaiting = this.#parts.clock.after(patienceMs, () => this.#upstreams.close())
    await this.#listening?.close()
    stopWaiting()
    this.#listening = undefined
    this.#upstreams.close()
    this.#replier.close()
  }
}

function zonesOf(options: Settled): Zones {
  const { advertise: addresses, pods, hideEmpty, clusterset } = options
  return {
    cluster: { origin: origin(options.domain), pods, addresses, hideEmpty },
    clusterset: clusterset === null ? undefined : { origin: origin(clusterset), addresses },
    networks: options.networks,
    ttlSeconds: Math.floor(options.ttlMs / 1000),
    searchNamespace: options.search ? options.searchNamespace : undefined,
  }
}

function origin(domain: string): string {
  return domain.toLowerCase().replace(/^\.|\.$/g, '')
}
