/** Decisions about whole lists of backends, computed once for all clients that no policy tells apart. */
import type { Backend, Backends, GlobalService, ServiceKey } from '../../proxy/plugin.ts'
import type { Profile } from './book.ts'
import { type BackendEnd, type ClientEnd, type Decision, decide } from './decision.ts'

/** What is left of a list for a client. */
export interface ListDecision {
  readonly left: Backends
  /** The first backend that is refused. */
  readonly refused: { readonly backend: Backend; readonly decision: Decision } | undefined
  /** Whether the client is one of the backends, so that it holds for no other client. */
  readonly isOwn: boolean
}

/** What a client remembers. Kept by the identity of the lists and services, so that a change of either is a change of the key. */
export interface Remembering {
  /** What it shares with all that no policy tells from it; undefined if it is like no other. */
  readonly shared: Memory | undefined
  list(backends: Backends): ListDecision | undefined
  service(service: GlobalService): ListDecision | undefined
  keepList(backends: Backends, decision: ListDecision): void
  keepService(service: GlobalService, decision: ListDecision): void
}

/** What clients with one profile share. */
export class Memory implements Remembering {
  readonly #lists = new WeakMap<Backends, ListDecision>()
  readonly #services = new WeakMap<GlobalService, ListDecision>()
  readonly #destinations = new WeakMap<object, Decision>()
  /** The services that one of the clients has used. */
  readonly used = new Set<ServiceKey>()

  get shared(): Memory {
    return this
  }

  list(backends: Backends): ListDecision | undefined {
    return this.#lists.get(backends)
  }

  service(service: GlobalService): ListDecision | undefined {
    return this.#services.get(service)
  }

  destination(destination: object): Decision | undefined {
    return this.#destinations.get(destination)
  }

  keepDestination(destination: object, decision: Decision): void {
    this.#destinations.set(destination, decision)
  }

  keepList(backends: Backends, decision: ListDecision): void {
    if (!decision.isOwn) this.#lists.set(backends, decision)
  }

  keepService(service: GlobalService, decision: ListDecision): void {
    if (!decision.isOwn) this.#services.set(service, decision)
  }
}

/**
 * The memory of a Pod that is a backend too. It reaches itself, so what is decided for those like it does not hold for a list that it is
 * in, unless nothing is refused there.
 */
export class OwnMemory implements Remembering {
  readonly #lists = new WeakMap<Backends, ListDecision>()
  readonly #services = new WeakMap<GlobalService, ListDecision>()
  readonly shared: Memory | undefined
  readonly #isIn: (backends: Backends) => boolean

  constructor(shared: Memory | undefined, isIn: (backends: Backends) => boolean) {
    this.shared = shared
    this.#isIn = isIn
  }

  list(backends: Backends): ListDecision | undefined {
    const known = this.#lists.get(backends)
    if (known !== undefined) return known
    const usual = this.#usual(this.shared?.list(backends), backends)
    if (usual !== undefined) this.#lists.set(backends, usual)
    return usual
  }

  service(service: GlobalService): ListDecision | undefined {
    const known = this.#services.get(service)
    if (known !== undefined) return known
    const usual = this.#usual(this.shared?.service(service), service.backends)
    if (usual !== undefined) this.#services.set(service, usual)
    return usual
  }

  keepList(backends: Backends, decision: ListDecision): void {
    this.#lists.set(backends, decision)
    if (!this.#isIn(backends)) this.shared?.keepList(backends, decision)
  }

  keepService(service: GlobalService, decision: ListDecision): void {
    this.#services.set(service, decision)
    if (!this.#isIn(service.backends)) this.shared?.keepService(service, decision)
  }

  #usual(decision: ListDecision | undefined, backends: Backends): ListDecision | undefined {
    return decision?.refused !== undefined && this.#isIn(backends) ? undefined : decision
  }
}

type Asking = ClientEnd & { readonly memory?: Remembering }

export class Decisions {
  readonly #endOf: (backend: Backend) => BackendEnd
  readonly #memories = new WeakMap<Profile, Memory>()
  /** Those of this machine: by what it is to its own Pods, and by what it is to others. */
  readonly #machines = new WeakMap<Profile, WeakMap<Profile, Memory>>()

  constructor(endOf: (backend: Backend) => BackendEnd) {
    this.#endOf = endOf
  }

  /**
   * The memory for all clients with this profile. This machine has one of its own, with a profile that others may have too: it is a node to
   * Pods elsewhere, and its own Pods cannot refuse it.
   */
  memoryOf({ profile, asNode }: Pick<ClientEnd, 'profile' | 'asNode'>): Memory {
    if (!asNode) return made(this.#memories, profile, () => new Memory())
    const machines = made(this.#machines, profile, () => new WeakMap<Profile, Memory>())
    return made(machines, asNode, () => new Memory())
  }

  list(client: Asking, backends: Backends, service: GlobalService): ListDecision {
    let refused: ListDecision['refused']
    let isOwn = false
    const left = backends.filter(backend => {
      const decision = this.one(client, backend, service)
      if (decision.verdict.by === 'itself') isOwn = true
      if (decision.outcome !== 'refuse') return true
      refused ??= { backend, decision }
      return false
    })
    return { left: refused ? left : backends, refused, isOwn }
  }

  /** The same for the service as a whole: a backend is left if a frontend leaves it. */
  service(client: Asking, service: GlobalService): ListDecision {
    const lists = service.frontends.length > 0 ? service.frontends.map(({ backends }) => backends) : [service.backends]
    const decisions = lists.map(backends => this.list(client, backends, service))
    return {
      left: decisions.flatMap(({ left }) => left),
      refused: decisions.find(({ refused }) => refused)?.refused,
      isOwn: decisions.some(({ isOwn }) => isOwn),
    }
  }

  one(client: Asking, backend: Backend, service: GlobalService): Decision {
    const end = this.#endOf(backend)
    const memory = client.memory?.shared
    // A Pod reaches itself, which no other of its kind does; a rule may be about the service.
    const isItself = end.party.address === client.party.address
    if (isItself || !memory || asksService(client)) return decide(client, end, service)
    const known = memory.destination(end.destination)
    if (known) return known
    const decision = decide(client, end, service)
    memory.keepDestination(end.destination, decision)
    return decision
  }
}

function made<K extends object, V>(map: WeakMap<K, V>, key: K, make: () => V): V {
  const known = map.get(key)
  if (known !== undefined) return known
  const value = make()
  map.set(key, value)
  return value
}

function asksService({ profile }: ClientEnd): boolean {
  const { enforced, all } = profile.sides.egress
  return enforced.asksService || all.asksService
}
