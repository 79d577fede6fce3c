/** Decisions about whole lists of backends, computed once for all clients that no policy tells apart. */
import type { Backend, Backends, GlobalService } from '../../proxy/plugin.ts'
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

/**
 * What clients with one profile share. Kept by the identity of the lists and services, so that a change of either is a change of the key.
 */
export class Memory {
  readonly #lists = new WeakMap<Backends, ListDecision>()
  readonly #services = new WeakMap<GlobalService, ListDecision>()
  /** False for a client that has decisions of its own. */
  readonly isShared: boolean

  constructor(isShared: boolean) {
    this.isShared = isShared
  }

  list(backends: Backends): ListDecision | undefined {
    return this.#lists.get(backends)
  }

  service(service: GlobalService): ListDecision | undefined {
    return this.#services.get(service)
  }

  keepList(backends: Backends, decision: ListDecision): void {
    if (!this.isShared || !decision.isOwn) this.#lists.set(backends, decision)
  }

  keepService(service: GlobalService, decision: ListDecision): void {
    if (!this.isShared || !decision.isOwn) this.#services.set(service, decision)
  }
}

export class Decisions {
  readonly #endOf: (backend: Backend) => BackendEnd
  #memories = new WeakMap<Profile, Memory>()

  constructor(endOf: (backend: Backend) => BackendEnd) {
    this.#endOf = endOf
  }

  /** The memory for all clients with this profile. */
  memoryOf(profile: Profile): Memory {
    const known = this.#memories.get(profile)
    if (known) return known
    const memory = new Memory(true)
    this.#memories.set(profile, memory)
    return memory
  }

  list(client: ClientEnd, backends: Backends, service: GlobalService): ListDecision {
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
  service(client: ClientEnd, service: GlobalService): ListDecision {
    const lists = service.frontends.length > 0 ? service.frontends.map(({ backends }) => backends) : [service.backends]
    const decisions = lists.map(backends => this.list(client, backends, service))
    return {
      left: decisions.flatMap(({ left }) => left),
      refused: decisions.find(({ refused }) => refused)?.refused,
      isOwn: decisions.some(({ isOwn }) => isOwn),
    }
  }

  one(client: ClientEnd, backend: Backend, service: GlobalService): Decision {
    return decide(client, this.#endOf(backend), service)
  }
}
