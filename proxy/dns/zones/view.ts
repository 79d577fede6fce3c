/**
 * The directory as one client sees it. A service that a plugin refuses to the client does not exist in its view. The view
 * records everything that was looked up through it, as the dependencies of the answer.
 */
import type { Backend, Backends } from '../../model/backend.ts'
import type { Directory } from '../../model/directory.ts'
import type { Client } from '../../model/flow.ts'
import { type Endpoint, type GlobalService, type ServiceKey, serviceKey } from '../../model/service.ts'
import type { AddressIndex, AddressOwner } from './address-index.ts'
import { type Dependencies, endpointsOf, everything, noDependencies, type Visibility } from './dependencies.ts'

export class View {
  readonly dependencies: Dependencies = noDependencies()
  readonly #client: Client
  readonly #directory: Directory
  readonly #addresses: AddressIndex
  readonly #visibility: Visibility

  constructor(client: Client, directory: Directory, addresses: AddressIndex, visibility: Visibility) {
    this.#client = client
    this.#directory = directory
    this.#addresses = addresses
    this.#visibility = visibility
  }

  /** The SOA serial: seconds since 1970 of the newest change. A cached denial keeps the serial it was made with. */
  get serial(): number {
    return Math.floor(this.#directory.changedAt / 1000)
  }

  /** The same for an answer that consists of the serial, and so depends on every change. */
  newestSerial(): number {
    this.dependencies.subjects.add(everything)
    return this.serial
  }

  /** Until the first sync no name may be denied; CoreDNS too answers SERVFAIL until its first list. */
  get synced(): boolean {
    return this.#directory.synced
  }

  service(namespace: string, name: string): GlobalService | undefined {
    return this.#admitted(serviceKey(namespace, name))
  }

  hasNamespace(name: string): boolean {
    const exists = this.#directory.hasNamespace(name)
    this.dependencies.namespaces.set(name, exists)
    return exists
  }

  /** Whether a Pod of the namespace has the address; hidden where only services hidden from the client show it. */
  hasPod(namespace: string, address: string): boolean {
    const inNamespace = (key: ServiceKey) => key.startsWith(`${namespace}/`)
    if (this.ownersOf(address).some(({ endpoint, service }) => endpoint?.local && inNamespace(service))) return true
    if ([...this.dependencies.hidden.keys()].some(inNamespace)) return false
    const exists = this.#directory.hasPod(namespace, address)
    this.dependencies.pods.set(`${namespace}/${address}`, { namespace, address, exists })
    return exists
  }

  /** The ready backends that the client may see. */
  ready(service: GlobalService): Backends {
    const shown = this.#visibility.visible(this.#client, service)
    this.dependencies.shown.set(service, shown)
    return shown.filter(isReady)
  }

  /** Those of them that the service's affinity prefers; all where none of these is ready. */
  preferred(service: GlobalService): Backends {
    const preferred = this.#visibility.visible(this.#client, service, true)
    this.dependencies.preferred.set(service, preferred)
    const ready = preferred.filter(isReady)
    return ready.length > 0 ? ready : this.ready(service)
  }

  /** The ready endpoints with a name below a virtual-IP service: those of the local cluster. */
  endpoints({ key, local }: GlobalService): readonly Endpoint[] {
    this.dependencies.subjects.add(endpointsOf(key))
    return (local?.endpoints ?? []).filter(endpoint => endpoint.ready)
  }

  /** The services that an address belongs to. */
  ownersOf(address: string): readonly AddressOwner[] {
    this.dependencies.subjects.add(address)
    return this.#addresses.ownersOf(address).filter(({ service }) => this.#admitted(service) !== undefined)
  }

  #admitted(key: ServiceKey): GlobalService | undefined {
    this.dependencies.subjects.add(key)
    const service = this.#directory.service(key)
    if (!service) return undefined
    const refusal = this.#visibility.admit(this.#client, service)
    if (refusal) {
      this.dependencies.hidden.set(key, refusal)
      return undefined
    }
    this.dependencies.admitted.add(service)
    return service
  }
}

function isReady({ state }: Backend): boolean {
  return state === 'active'
}
