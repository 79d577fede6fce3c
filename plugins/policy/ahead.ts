/**
 * Decides before a flow asks. After a change, what clients have asked before is decided again: for each kind of client that is in use, the
 * services that clients like it have used. Then, as far as there is room, all services for the clients that may come. In slices, so that DNS
 * and flows are served in between; a flow that comes sooner decides for itself.
 */
import type { Client, Clock, ServiceKey } from '../../proxy/plugin.ts'

/** Kinds of clients that are kept; the one that was met longest ago makes room. */
const maxKinds = 10_000
/** Services of those that no policy tells apart. */
const maxServices = 1000
/** Services over all. */
const maxPairs = 200_000
/** Services that are decided for clients that have not come, over all that no policy tells apart. */
const maxExpected = 20_000
const sliceMs = 2
/** Between two looks at the clock. */
const stepsAtOnce = 16

/** Whom a client is like: Pods their identity, which stays the same object until its labels change; others a text. */
export type ClientKind = object | string

/** What kinds of clients share that no policy tells apart: the services that one of them has used. */
export interface Shared {
  readonly used: Set<ServiceKey>
}

interface InUse {
  /** One of the kind. */
  readonly client: Client
  readonly shared: Shared
}

interface Deciding {
  readonly clock: Clock
  /** What the client is now; undefined: it is like no other. */
  readonly kindOf: (client: Client) => { readonly kind: ClientKind; readonly shared: Shared } | undefined
  /** Decides for the service, and keeps it; false: there is no such service. */
  readonly decide: (client: Client, service: ServiceKey) => boolean
  /** Clients that may come, and what they may ask for. */
  readonly expected?: () => Iterable<Client>
  readonly services?: () => Iterable<ServiceKey>
}

export class Ahead {
  readonly #parts: Deciding
  readonly #kinds = new Map<ClientKind, InUse>()
  /** How many kinds share each. */
  readonly #sharing = new Map<Shared, number>()
  #pairs = 0
  #waiting: Iterator<[ClientKind, InUse, ServiceKey]> | undefined
  /** The services of which alone decisions are to be made again; undefined: all. */
  #services: Set<ServiceKey> | undefined = new Set()
  /** Those that no policy tells apart, with one of them, of the clients that all services were decided for. */
  readonly #expected = new Map<Shared, Client>()
  /** How many pairs of them and a service there are. */
  #expectedPairs = 0
  /** Addresses that have other clients now. */
  #arrived = new Set<string>()
  #stop: (() => void) | undefined

  constructor(parts: Deciding) {
    this.#parts = parts
  }

  /** How many services are kept, over all that no policy tells apart. */
  get pairs(): number {
    return this.#pairs
  }

  /** Whether there is nothing left to do. */
  get isDone(): boolean {
    return this.#stop === undefined
  }

  /** A client of this kind has come. */
  met(kind: ClientKind, client: Client, shared: Shared): void {
    this.#forget(kind)
    this.#kinds.set(kind, { client, shared })
    const sharing = this.#sharing.get(shared) ?? 0
    this.#sharing.set(shared, sharing + 1)
    if (sharing === 0) this.#pairs += shared.used.size
    this.#makeRoom()
  }

  /** A flow or a question of one of its clients was decided. */
  used(shared: Shared, service: ServiceKey): void {
    const { used } = shared
    if (used.has(service) || used.size >= maxServices || !this.#sharing.has(shared)) return
    used.add(service)
    this.#pairs++
    this.#makeRoom()
  }

  /** Anything may be decided otherwise now. */
  everything(): void {
    if (this.#kinds.size === 0 && !this.#parts.expected) return
    this.#services = undefined
    this.#begin()
  }

  service(key: ServiceKey): void {
    if (this.#kinds.size === 0 && this.#expected.size === 0) return
    this.#services?.add(key)
    this.#begin()
  }

  /** Other clients may come from these addresses now. */
  arrived(addresses: ReadonlySet<string>): void {
    if (!this.#parts.expected || this.#expectedPairs >= maxExpected) return
    for (const address of addresses) {
      if (this.#arrived.size >= maxServices) break
      this.#arrived.add(address)
    }
    this.#begin()
  }

  close(): void {
    this.#stop?.()
    this.#stop = undefined
    this.#kinds.clear()
    this.#sharing.clear()
    this.#expected.clear()
  }

  #begin(): void {
    // A change while it works begins it again: what is decided already costs a look-up.
    if (this.#waiting) this.#services = undefined
    this.#waiting = undefined
    this.#stop ??= this.#parts.clock.after(0, () => this.#slice())
  }

  #slice(): void {
    const { clock } = this.#parts
    const end = clock.now() + sliceMs
    this.#stop = undefined
    this.#waiting ??= this.#work()
    const waiting = this.#waiting
    for (let step = 1; ; step++) {
      const { done, value } = waiting.next()
      if (done) {
        this.#waiting = undefined
        return
      }
      this.#decide(...value)
      if (step % stepsAtOnce === 0 && clock.now() >= end) break
    }
    this.#stop = clock.after(0, () => this.#slice())
  }

  *#work(): Generator<[ClientKind, InUse, ServiceKey]> {
    const some = this.#services
    this.#services = new Set()
    for (const [kind, inUse] of [...this.#kinds]) {
      const { used } = inUse.shared
      if (!some) for (const service of [...used]) yield [kind, inUse, service]
      else for (const service of some) if (used.has(service)) yield [kind, inUse, service]
    }
    yield* this.#workAhead(some)
  }

  *#workAhead(some: ReadonlySet<ServiceKey> | undefined): Generator<[ClientKind, InUse, ServiceKey]> {
    const { expected = () => [], services = () => [] } = this.#parts
    if (some) {
      for (const client of [...this.#expected.values()]) yield* this.#ask(client, some)
      for (const address of this.#arrived) {
        this.#arrived.delete(address)
        yield* this.#ask({ address, port: 0 }, services())
      }
      return
    }
    this.#arrived.clear()
    this.#expected.clear()
    this.#expectedPairs = 0
    for (const client of expected()) yield* this.#ask(client, services())
  }

  /** What has not been asked for yet, while there is room. */
  *#ask(client: Client, services: Iterable<ServiceKey>): Generator<[ClientKind, InUse, ServiceKey]> {
    if (this.#expectedPairs >= maxExpected) return
    const found = this.#parts.kindOf(client)
    if (!found) return
    const { kind, shared } = found
    const isNew = !this.#expected.has(shared)
    if (isNew) this.#expected.set(shared, client)
    else if (this.#expected.get(shared) !== client) return
    for (const service of [...services]) {
      if (this.#expectedPairs++ >= maxExpected) return
      if (!shared.used.has(service)) yield [kind, this.#kinds.get(kind) ?? { client, shared }, service]
    }
  }

  #decide(kind: ClientKind, before: InUse, service: ServiceKey): void {
    const { client, shared } = before
    const now = this.#parts.kindOf(client)
    // A Pod that is gone, or that has other labels, stands for its kind no more; what is outside may be called otherwise now.
    if (!now || (now.kind !== kind && typeof kind === 'object')) return this.#forget(kind)
    if (now.kind !== kind) this.#forget(kind)
    if (this.#kinds.get(now.kind)?.shared !== now.shared) this.met(now.kind, client, now.shared)
    if (this.#parts.decide(client, service)) this.used(now.shared, service)
    else for (const each of new Set([shared, now.shared])) this.#unuse(each, service)
  }

  #unuse(shared: Shared, service: ServiceKey): void {
    if (shared.used.delete(service) && this.#sharing.has(shared)) this.#pairs--
  }

  #makeRoom(): void {
    while (this.#kinds.size > maxKinds || (this.#pairs > maxPairs && this.#kinds.size > 1)) {
      const [oldest] = this.#kinds.keys()
      if (oldest === undefined) return
      this.#forget(oldest)
    }
  }

  #forget(kind: ClientKind): void {
    const shared = this.#kinds.get(kind)?.shared
    if (!shared) return
    this.#kinds.delete(kind)
    const sharing = (this.#sharing.get(shared) ?? 1) - 1
    if (sharing > 0) this.#sharing.set(shared, sharing)
    else {
      this.#sharing.delete(shared)
      this.#pairs -= shared.used.size
    }
  }
}
