/** Builders of model values: every field has a default, so that a test names only the fields it is about. */
import { familyOf } from '../../proxy/model/address.ts'
import { type Backend, backendKey, destinationOf } from '../../proxy/model/backend.ts'
import { type Change, changeOf, type Directory } from '../../proxy/model/directory.ts'
import type { Flow } from '../../proxy/model/flow.ts'
import {
  type ClusterService,
  type Endpoint,
  type Frontend,
  frontendKey,
  type GlobalService,
  portMatches,
  type Settings,
  serviceKey,
} from '../../proxy/model/service.ts'

export function backend(given: Partial<Backend> & { address: string }): Backend {
  const { cluster = 'cluster-1', address, port = 8080, protocol = 'TCP' } = given
  return Object.freeze({
    key: backendKey(cluster, address, port, protocol),
    destination: destinationOf(given.network, address, port, protocol),
    cluster,
    remote: cluster !== 'cluster-1',
    family: familyOf(address),
    port,
    protocol,
    ports: [],
    state: 'active',
    serving: true,
    health: 'unknown',
    weight: 100,
    ...given,
  })
}

export const plainSettings: Settings = { global: true, shared: true, affinity: 'none', clusterOrder: [] }

export function endpoint(given: Partial<Endpoint> & { address: string }): Endpoint {
  return {
    ports: [{ name: '', protocol: 'TCP', port: 8080 }],
    ready: true,
    serving: true,
    terminating: false,
    ...given,
  }
}

export function clusterService(given: Partial<ClusterService> = {}): ClusterService {
  return {
    cluster: 'cluster-1',
    namespace: 'default',
    name: 'rebel-base',
    type: 'ClusterIP',
    headless: false,
    clusterIPs: given.headless || given.type === 'ExternalName' ? [] : ['127.96.0.10'],
    ports: [{ name: '', protocol: 'TCP', port: 80 }],
    annotations: { 'service.cilium.io/global': 'true' },
    labels: {},
    publishNotReadyAddresses: false,
    internalTrafficPolicy: 'Cluster',
    endpoints: [],
    ...given,
  }
}

/** A merged service with one frontend per IP and port of its local declaration. */
export function globalService(
  given: Omit<Partial<GlobalService>, 'settings'> & {
    settings?: Partial<Settings>
    ports?: ClusterService['ports']
  } = {},
): GlobalService {
  const { settings, ports, ...rest } = given
  const local = 'local' in given ? given.local : clusterService(ports ? { ports } : {})
  const namespace = given.namespace ?? local?.namespace ?? 'default'
  const name = given.name ?? local?.name ?? 'rebel-base'
  const backends = given.backends ?? []
  const frontends: Frontend[] = (local?.clusterIPs ?? []).flatMap(ip =>
    (local?.ports ?? []).map(p => ({
      key: frontendKey(ip, p.port, p.protocol),
      service: serviceKey(namespace, name),
      ip,
      port: p.port,
      protocol: p.protocol,
      name: p.name,
      backends: backends.filter(
        b => b.state !== 'maintenance' && portMatches({ name: p.name, protocol: p.protocol, family: familyOf(ip) }, b),
      ),
    })),
  )
  return {
    key: serviceKey(namespace, name),
    namespace,
    name,
    local,
    members: local ? [local] : [],
    frontends,
    backends,
    parked: [],
    changedAt: 0,
    ...rest,
    settings: { ...plainSettings, ...settings },
  }
}

let flows = 0

export function flow(service: GlobalService, given: Partial<Flow> = {}): Flow {
  const frontend = service.frontends[0]
  if (!frontend && !given.frontend) throw new Error('the service has no frontend')
  return {
    id: ++flows,
    client: { address: '127.0.0.1', port: 40_000 },
    service,
    frontend: frontend as Frontend,
    tried: [],
    ...given,
  }
}

/** A directory that tests write. `set` and `remove` notify the listeners at once. */
export class FakeDirectory implements Directory {
  synced = true
  changedAt = 0
  namespaces = new Set(['default'])
  /** `NAMESPACE/ADDRESS` */
  pods = new Set<string>()
  #services = new Map<string, GlobalService>()
  #listeners = new Set<(change: Change) => void>()

  constructor(...services: GlobalService[]) {
    for (const service of services) this.#services.set(service.key, service)
  }

  set(...services: GlobalService[]): void {
    this.#notify(
      services.map(after => {
        const before = this.#services.get(after.key)
        this.#services.set(after.key, after)
        return changeOf(after.key, before, after)
      }),
    )
  }

  /** Changes several services at once; one without `after` is removed. */
  replace(batch: readonly { key: string; after?: GlobalService }[]): void {
    this.#notify(
      batch.map(({ key, after }) => {
        const before = this.#services.get(key)
        if (after) this.#services.set(key, after)
        else this.#services.delete(key)
        return changeOf(key, before, after)
      }),
    )
  }

  remove(key: string): void {
    const before = this.#services.get(key)
    this.#services.delete(key)
    if (before) this.#notify([changeOf(key, before, undefined)])
  }

  service(key: string): GlobalService | undefined {
    return this.#services.get(key)
  }

  services(): IterableIterator<GlobalService> {
    return this.#services.values()
  }

  /** Tests may leave out the backends of endpoints that only DNS looks at. */
  servicesAt(address: string): string[] {
    const isAt = (one: { readonly address: string }) => one.address === address
    const having = ({ backends, members }: GlobalService) =>
      backends.some(isAt) || members.some(({ endpoints }) => endpoints.some(isAt))
    return [...this.#services.values()].filter(having).map(({ key }) => key)
  }

  get size(): number {
    return this.#services.size
  }

  hasNamespace(name: string): boolean {
    return this.namespaces.has(name) || [...this.#services.values()].some(s => s.namespace === name)
  }

  hasPod(namespace: string, address: string): boolean {
    return this.pods.has(`${namespace}/${address}`)
  }

  onChange(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #notify(change: Change): void {
    for (const listener of this.#listeners) listener(change)
  }
}
