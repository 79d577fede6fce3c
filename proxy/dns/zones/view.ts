/**
 * The directory as one client may see it. What a plugin refuses to the client does not exist in its view, and a view
 * remembers all that was looked up through it: an answer made from a view holds as long as what it saw does.
 */

import type { Backend, Backends } from '../../model/backend.ts'
import type { Directory } from '../../model/directory.ts'
import type { Chooser, Client, Refusal } from '../../model/flow.ts'
import { type Endpoint, type GlobalService, type ServiceKey, serviceKey } from '../../model/service.ts'
import type { Reference, Reverse } from './address-index.ts'

export type Eyes = Pick<Chooser, 'admit' | 'visible'>

/** The subject that every change of the directory concerns. */
export const everything = ''

/** The subject of an answer that tells of single endpoints of a virtual service. */
export function endpointsOf(key: ServiceKey): string {
  return `${key} endpoints`
}

/** What an answer rests on. */
export interface Seen {
  /** Keys of services, found or missed, addresses, {@link endpointsOf} and {@link everything}: a change voids the answer. */
  readonly subjects: Set<string>
  /** Services that the client was let in to; another client must be let in too. */
  readonly admitted: Set<GlobalService>
  /** What was hidden from the client, and why; then the answer is for it alone. */
  readonly hidden: Map<ServiceKey, Refusal>
  /** The backends that were shown, by service; another client must be shown the same. */
  readonly shown: Map<GlobalService, Backends>
  /** Likewise those that were preferred, where only these were looked at. */
  readonly preferred: Map<GlobalService, Backends>
  /** Namespaces come and go without notice, so that they are asked for again. */
  readonly namespaces: Map<string, boolean>
  /** As do pods; by `NAMESPACE/ADDRESS`. */
  readonly pods: Map<string, PodSeen>
}

export interface PodSeen {
  readonly namespace: string
  readonly address: string
  readonly exists: boolean
}

export class View {
  readonly seen: Seen = {
    subjects: new Set(),
    admitted: new Set(),
    hidden: new Map(),
    shown: new Map(),
    preferred: new Map(),
    namespaces: new Map(),
    pods: new Map(),
  }
  readonly #client: Client
  readonly #directory: Directory
  readonly #reverse: Reverse
  readonly #eyes: Eyes

  constructor(client: Client, directory: Directory, reverse: Reverse, eyes: Eyes) {
    this.#client = client
    this.#directory = directory
    this.#reverse = reverse
    this.#eyes = eyes
  }

  /** Seconds since 1970 of the newest change: the serial of our zones. A denial that is kept goes on with an older one. */
  get serial(): number {
    return Math.floor(this.#directory.changedAt / 1000)
  }

  /** The same for an answer that tells it, and so holds no longer than it does. */
  newestSerial(): number {
    this.seen.subjects.add(everything)
    return this.serial
  }

  /** Before this nothing may be denied (CoreDNS: SERVFAIL until the first list). */
  get synced(): boolean {
    return this.#directory.synced
  }

  service(namespace: string, name: string): GlobalService | undefined {
    return this.#admitted(serviceKey(namespace, name))
  }

  hasNamespace(name: string): boolean {
    const exists = this.#directory.hasNamespace(name)
    this.seen.namespaces.set(name, exists)
    return exists
  }

  /** Whether a Pod of the namespace has the address; one that only services hidden from the client tell of is hidden too. */
  hasPod(namespace: string, address: string): boolean {
    const inNamespace = (key: ServiceKey) => key.startsWith(`${namespace}/`)
    if (this.named(address).some(({ endpoint, service }) => endpoint?.local && inNamespace(service))) return true
    if ([...this.seen.hidden.keys()].some(inNamespace)) return false
    const exists = this.#directory.hasPod(namespace, address)
    this.seen.pods.set(`${namespace}/${address}`, { namespace, address, exists })
    return exists
  }

  /** The endpoints that the client may be told of, ready ones only. */
  ready(service: GlobalService): Backends {
    const shown = this.#eyes.visible(this.#client, service)
    this.seen.shown.set(service, shown)
    return shown.filter(isReady)
  }

  /** Those of them that the service prefers; all where none is ready that it does. */
  preferred(service: GlobalService): Backends {
    const preferred = this.#eyes.visible(this.#client, service, true)
    this.seen.preferred.set(service, preferred)
    const ready = preferred.filter(isReady)
    return ready.length > 0 ? ready : this.ready(service)
  }

  /** The endpoints that have a name below a virtual service: those of its own cluster. */
  endpoints({ key, local }: GlobalService): readonly Endpoint[] {
    this.seen.subjects.add(endpointsOf(key))
    return (local?.endpoints ?? []).filter(endpoint => endpoint.ready)
  }

  /** The services that an address belongs to. */
  named(address: string): readonly Reference[] {
    this.seen.subjects.add(address)
    return this.#reverse.at(address).filter(({ service }) => this.#admitted(service) !== undefined)
  }

  #admitted(key: ServiceKey): GlobalService | undefined {
    this.seen.subjects.add(key)
    const service = this.#directory.service(key)
    if (!service) return undefined
    const refusal = this.#eyes.admit(this.#client, service)
    if (refusal) {
      this.seen.hidden.set(key, refusal)
      return undefined
    }
    this.seen.admitted.add(service)
    return service
  }
}

function isReady({ state }: Backend): boolean {
  return state === 'active'
}

/** What was seen, in the form that is quick to check again for each client. */
export interface Grounds {
  readonly admitted: readonly GlobalService[]
  readonly shown: readonly Shown[]
  readonly namespaces: readonly (readonly [string, boolean])[]
  readonly pods: readonly PodSeen[]
}

type Shown = readonly [service: GlobalService, backends: Backends, preferred: boolean]

export function groundsOf(seen: Seen): Grounds {
  return {
    admitted: [...seen.admitted],
    shown: [
      ...[...seen.shown].map(([service, backends]): Shown => [service, backends, false]),
      ...[...seen.preferred].map(([service, backends]): Shown => [service, backends, true]),
    ],
    namespaces: [...seen.namespaces],
    pods: [...seen.pods.values()],
  }
}

/** The same grounds, with one service in the place of another. */
export function renewed(grounds: Grounds, before: GlobalService, after: GlobalService): Grounds {
  const now = (service: GlobalService) => (service === before ? after : service)
  return {
    ...grounds,
    admitted: grounds.admitted.map(now),
    shown: grounds.shown.map(([service, ...rest]): Shown => [now(service), ...rest]),
  }
}

/** Whether a client would see the same, now that no subject has changed. */
export function holds(grounds: Grounds, client: Client, directory: Directory, eyes: Eyes): boolean {
  return (
    grounds.admitted.every(service => !eyes.admit(client, service)) &&
    grounds.shown.every(([service, backends, preferred]) => same(eyes.visible(client, service, preferred), backends)) &&
    grounds.namespaces.every(([name, exists]) => directory.hasNamespace(name) === exists) &&
    grounds.pods.every(({ namespace, address, exists }) => directory.hasPod(namespace, address) === exists)
  )
}

/** Backends are frozen and replaced when they change: the same ones are the same values. */
function same(a: Backends, b: Backends): boolean {
  return a === b || (a.length === b.length && a.every((backend, i) => backend === b[i]))
}
