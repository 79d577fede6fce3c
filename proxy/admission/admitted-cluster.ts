/** One cluster at the door: what its source declares, what of that goes on to the mesh, and what is refused. */
import { isDeepStrictEqual } from 'node:util'
import { endpointText, type Protocol } from '../model/address.ts'
import type { Problem } from '../model/error.ts'
import {
  type ClusterService,
  type Endpoint,
  frontendKey,
  type Pod,
  type ServiceKey,
  serviceKey,
} from '../model/service.ts'
import type { Sink, Snapshot } from '../model/sink.ts'
import { AddressIndex } from './address-index.ts'
import type { AddressRefusal, AddressRights } from './address-policy.ts'

export interface AdmissionRules {
  address(address: string, rights: AddressRights): AddressRefusal | undefined
  endpoint(address: string, port: number, protocol: Protocol): AddressRefusal | undefined
}

interface Admitted {
  /** The same object if nothing is refused. */
  readonly service: ClusterService
  /** What was refused, by its text in messages. */
  readonly refused: ReadonlyMap<string, AddressRefusal>
}

/** Addresses shown for one cluster; the others are counted. */
const maxShown = 20

/** A ClusterIP is not dialled for the cluster, so a loopback address in its place is harmless. */
const clusterIpRights: AddressRights = { loopback: true }

export class AdmittedCluster {
  #rights: AddressRights
  #rules: AdmissionRules
  #next: Sink | undefined
  /** As declared, so that an endpoint can be admitted when the reason against it has gone. */
  #declared = new Map<ServiceKey, ClusterService>()
  #index = new AddressIndex()
  #refused = new Map<ServiceKey, Admitted['refused']>()
  #hasReset = false

  constructor(rights: AddressRights, rules: AdmissionRules) {
    this.#rights = rights
    this.#rules = rules
  }

  setRights(rights: AddressRights): void {
    if (isDeepStrictEqual(rights, this.#rights)) return
    this.#rights = rights
    this.recheckAll()
  }

  sink(next: Sink): Sink {
    this.#next = next
    return {
      ...next,
      reset: snapshot => {
        this.#hasReset = true
        next.reset(this.#admitAll(snapshot))
      },
      recall: (snapshot, since) => {
        if (!this.#hasReset) next.recall?.(this.#admitAll(snapshot), since)
      },
      put: service => next.put(this.#take(service)),
      drop: (namespace, name) => {
        const key = serviceKey(namespace, name)
        const declared = this.#declared.get(key)
        if (declared) this.#index.delete(key, declared)
        this.#declared.delete(key)
        this.#refused.delete(key)
        next.drop(namespace, name)
      },
      putPod: pod => next.putPod(this.#podOf(pod)),
    }
  }

  /** Checks the services again that have an endpoint at one of the addresses. */
  recheck(addresses: Iterable<string>): void {
    const keys = new Set<ServiceKey>()
    for (const address of addresses) for (const key of this.#index.servicesAt(address)) keys.add(key)
    this.#recheck(keys)
  }

  recheckAll(): void {
    this.#recheck([...this.#declared.keys()])
  }

  problems(): Problem[] {
    const problems: Problem[] = []
    let more = 0
    let cluster = ''
    for (const [key, refused] of this.#refused) {
      const service = this.#declared.get(key)
      if (!service) continue
      cluster = service.cluster
      for (const [text, { message }] of refused) {
        if (problems.length === maxShown) more++
        else problems.push({ code: 'ADDRESS_REFUSED', where: placeOf(service), message: `${text} ${message}` })
      }
    }
    if (more > 0) {
      problems.push({ code: 'ADDRESS_REFUSED', where: cluster, message: `${more} more addresses are refused` })
    }
    return problems
  }

  #admitAll(snapshot: Snapshot): Snapshot {
    this.#declared.clear()
    this.#index.clear()
    this.#refused.clear()
    const { services, pods } = snapshot
    return {
      ...snapshot,
      services: services.map(service => this.#take(service)),
      ...(pods && { pods: pods.map(pod => this.#podOf(pod)) }),
    }
  }

  #recheck(keys: Iterable<ServiceKey>): void {
    for (const key of keys) {
      const service = this.#declared.get(key)
      if (!service) continue
      const before = this.#refused.get(key)
      const admitted = this.#admit(service)
      if (isDeepStrictEqual(before ?? new Map(), admitted.refused)) continue
      this.#remember(key, admitted)
      this.#next?.put(admitted.service)
    }
  }

  #take(service: ClusterService): ClusterService {
    const key = serviceKey(service.namespace, service.name)
    const before = this.#declared.get(key)
    if (before && before.endpoints !== service.endpoints) this.#index.delete(key, before)
    if (before?.endpoints !== service.endpoints) this.#index.add(key, service)
    this.#declared.set(key, service)
    const admitted = this.#admit(service)
    this.#remember(key, admitted)
    return admitted.service
  }

  #remember(key: ServiceKey, { refused }: Admitted): void {
    if (refused.size > 0) this.#refused.set(key, refused)
    else this.#refused.delete(key)
  }

  #admit(service: ClusterService): Admitted {
    const refused = new Map<string, AddressRefusal>()
    const note = (text: string, refusal: AddressRefusal) => void refused.set(text, refusal)
    const isAddress = (address: string) => {
      const refusal = this.#rules.address(address, clusterIpRights)
      if (refusal) note(address, refusal)
      return refusal === undefined
    }
    const { serviceImport } = service
    const clusterIPs = kept(service.clusterIPs, isAddress)
    const endpoints = this.#endpointsOf(service.endpoints, note)
    const imported = serviceImport && {
      ips: kept(serviceImport.ips, isAddress),
      endpoints: this.#endpointsOf(serviceImport.endpoints, note),
    }
    if (refused.size === 0) return { service, refused }
    return {
      service: {
        ...service,
        clusterIPs,
        endpoints,
        ...(serviceImport && { serviceImport: { ...serviceImport, ...imported } }),
      },
      refused,
    }
  }

  /** The endpoints that may be used, each with the ports that may be. The same array if nothing is refused. */
  #endpointsOf<T extends Endpoint>(
    endpoints: readonly T[],
    note: (text: string, refusal: AddressRefusal) => void,
  ): readonly T[] {
    let isSame = true
    const admitted = endpoints.flatMap((endpoint): T[] => {
      const { address, ports } = endpoint
      const refusal = this.#rules.address(address, this.#rights)
      if (refusal) {
        isSame = false
        const [port] = ports
        note(port ? endpointText(address, port.port) : address, refusal)
        return []
      }
      const usable = kept(ports, ({ port, protocol }) => {
        const own = this.#rules.endpoint(address, port, protocol)
        if (own) note(frontendKey(address, port, protocol), own)
        return own === undefined
      })
      if (usable === ports) return [endpoint]
      isSame = false
      return usable.length > 0 ? [{ ...endpoint, ports: usable }] : []
    })
    return isSame ? endpoints : admitted
  }

  #podOf(pod: Pod): Pod {
    const addresses = kept(pod.addresses, address => this.#rules.address(address, clusterIpRights) === undefined)
    return addresses === pod.addresses ? pod : { ...pod, addresses }
  }
}

/** The same array if all are kept, without a copy. */
function kept<T>(all: readonly T[], isKept: (one: T) => boolean): readonly T[] {
  const left = all.filter(isKept)
  return left.length === all.length ? all : left
}

/** `cluster-2 default/rebel-base (services.yaml:12)` */
function placeOf({ cluster, namespace, name, origin }: ClusterService): string {
  const text = `${cluster} ${serviceKey(namespace, name)}`
  return origin === undefined ? text : `${text} (${origin})`
}
