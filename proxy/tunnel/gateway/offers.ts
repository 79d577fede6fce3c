/** What a gateway serves: the backends of the local cluster, of services that the cluster shares. Kept up with the directory. */
import { endpointText, type Protocol } from '../../model/address.ts'
import type { Backend } from '../../model/backend.ts'
import type { Change, Directory } from '../../model/directory.ts'
import { type Frontend, frontendKey, type GlobalService, type ServiceKey, serviceKey } from '../../model/service.ts'
import type { Target } from '../wire/target.ts'

/** A service that has what was asked for, and the frontend whose backends are only those. */
export interface Offer {
  readonly service: GlobalService
  readonly frontend: Frontend
}

export class Offers {
  readonly #cluster: string
  readonly #isShared: (service: GlobalService) => boolean
  readonly #directory: Directory
  /** By `ADDRESS:PORT/PROTOCOL`. Services may share a backend. */
  readonly #byEndpoint = new Map<string, Map<ServiceKey, Offer>>()
  readonly #byService = new Map<
    ServiceKey,
    { readonly endpoints: readonly string[]; readonly offers: readonly Offer[] }
  >()
  readonly #listeners = new Set<(changed: readonly ServiceKey[]) => void>()
  readonly #unwatch: () => void

  /** `cluster`: the local one. `isShared`: whether other clusters may have the service at all. */
  constructor(cluster: string, directory: Directory, isShared: (service: GlobalService) => boolean) {
    this.#cluster = cluster
    this.#isShared = isShared
    this.#directory = directory
    for (const service of directory.services()) this.#set(service)
    this.#unwatch = directory.onChange(change => this.#changed(change))
  }

  /**
   * All services that have the backend, or the service of that name. Empty for what is not shared, whatever it is: asked each time, since
   * a namespace may be withdrawn without a change of its services.
   */
  find(target: Target, protocol: Protocol): readonly Offer[] {
    return this.#known(target, protocol).filter(({ service }) => this.#isShared(service))
  }

  /** The service as it is now, if it is shared. */
  service(key: ServiceKey): GlobalService | undefined {
    const service = this.#directory.service(key)
    return service && this.#isShared(service) ? service : undefined
  }

  /** All services, shared or not. */
  services(): Iterable<ServiceKey> {
    return this.#byService.keys()
  }

  /** Called after each change with the services that have changed. Returns a function that unsubscribes. */
  onChange(listener: (changed: readonly ServiceKey[]) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  close(): void {
    this.#unwatch()
    this.#listeners.clear()
  }

  #known(target: Target, protocol: Protocol): readonly Offer[] {
    if ('address' in target) return [...(this.#byEndpoint.get(endpointKey(target, protocol))?.values() ?? [])]
    const offers = this.#byService.get(serviceKey(target.namespace, target.name))?.offers ?? []
    const offer = offers.find(({ frontend }) => frontend.port === target.port && frontend.protocol === protocol)
    return offer ? [offer] : []
  }

  #changed(change: Change): void {
    for (const { key, after } of change) {
      this.#remove(key)
      if (after) this.#set(after)
    }
    const keys = change.map(({ key }) => key)
    for (const listener of this.#listeners) listener(keys)
  }

  #remove(key: ServiceKey): void {
    for (const endpoint of this.#byService.get(key)?.endpoints ?? []) {
      const services = this.#byEndpoint.get(endpoint)
      services?.delete(key)
      if (services?.size === 0) this.#byEndpoint.delete(endpoint)
    }
    this.#byService.delete(key)
  }

  #set(service: GlobalService): void {
    const own = service.backends.filter(({ cluster, port }) => cluster === this.#cluster && port > 0)
    const endpoints = own.map(backend => endpointKey(backend, backend.protocol))
    const offers = service.frontends.map(frontend => offerOf(service, frontend, frontend.backends.filter(isOwn)))
    this.#byService.set(service.key, { endpoints, offers })
    for (const [i, endpoint] of endpoints.entries()) {
      const backend = own[i] as Backend
      const frontend = service.frontends.find(({ backends }) => backends.includes(backend)) ?? bare(service, backend)
      const services = this.#byEndpoint.get(endpoint) ?? new Map<ServiceKey, Offer>()
      services.set(service.key, offerOf(service, frontend, [backend]))
      this.#byEndpoint.set(endpoint, services)
    }
  }
}

function isOwn({ remote }: Backend): boolean {
  return !remote
}

function offerOf(service: GlobalService, frontend: Frontend, backends: readonly Backend[]): Offer {
  return { service, frontend: Object.freeze({ ...frontend, backends: Object.freeze(backends) }) }
}

/** For a backend that no frontend has, such as one of a headless service. */
function bare({ key }: GlobalService, { address, port, protocol, ports }: Backend): Frontend {
  const name = ports[0] ?? ''
  return { key: frontendKey(address, port, protocol), service: key, ip: address, port, protocol, name, backends: [] }
}

function endpointKey(
  { address, port }: { readonly address: string; readonly port: number },
  protocol: Protocol,
): string {
  return `${endpointText(address, port)}/${protocol}`
}
