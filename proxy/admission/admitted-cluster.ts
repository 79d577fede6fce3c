/** One cluster at the door: what its source declares, what of that goes on to the mesh, and what is refused. */
import { isDeepStrictEqual } from 'node:util'
import { type Cidr, canonicalAddress, endpointText, type Protocol } from '../model/address.ts'
import type { Problem } from '../model/error.ts'
import { filtered } from '../model/lists/filtered.ts'
import { type Touched, touchedOf } from '../model/lists/touched.ts'
import type { Node } from '../model/location.ts'
import {
  type ClusterService,
  type Endpoint,
  frontendKey,
  type Pod,
  type ServiceKey,
  serviceKey,
} from '../model/service.ts'
import type { Sink, Snapshot } from '../model/sink.ts'
import { Turns } from '../model/time/turn.ts'
import type { NamedGateway } from '../model/tunnel/gateway-address.ts'
import { type AddressRights, type Refusal, refusalOf } from './address-policy.ts'
import { ClusterClaims } from './cluster-claims.ts'
import { type ClusterRights, outside, type ServiceRule, serviceRule } from './cluster-rights.ts'
import type { NetworkClaims } from './network-claims.ts'
import { type Claim, prevents, refusalOfClaim } from './ownership.ts'
import { RangeTable } from './range-table.ts'

export interface AdmissionRules {
  /** Why an endpoint is refused whatever cluster names it: it is Starlane itself. */
  endpoint(address: string, port: number, protocol: Protocol): Refusal | undefined
}

interface Admitted {
  /** The same object if nothing is refused; undefined if all of it is. */
  readonly service: ClusterService | undefined
  /** What was refused, by its text in messages. */
  readonly refused: ReadonlyMap<string, Refusal>
}

/** More services and addresses are looked through in turns. */
export const atOnce = 2000

/** Addresses shown for one cluster; the others are counted. */
const maxShown = 20

/** A ClusterIP is not dialled for the cluster, so a loopback address in its place is harmless. */
const clusterIpRights: AddressRights = { loopback: true }

export class AdmittedCluster {
  readonly name: string
  #rights: ClusterRights
  /** `rights.cidrs`, to be searched. */
  #allowed: RangeTable<true> | undefined
  #refusalOfService: ServiceRule
  readonly #rules: AdmissionRules
  #next: Sink | undefined
  /** As declared, so that an endpoint can be admitted when the reason against it has gone. */
  #declared = new Map<ServiceKey, ClusterService>()
  #nodes = new Map<string, Node>()
  #network: NetworkClaims<AdmittedCluster>
  #claims: ClusterClaims<AdmittedCluster>
  /** In a network that the cluster is leaving: what has not been moved yet. */
  #leftClaims: ClusterClaims<AdmittedCluster> | undefined
  /** Raised by what makes the steps in progress needless. */
  #moves = 0
  #rechecks = 0
  /** While a move or a round of checks is in progress, what the cluster says is looked at as a whole. */
  #isMoving = false
  #isRechecking = false
  #refused = new Map<ServiceKey, Admitted['refused']>()
  readonly #refusedGateways = new Map<string, Refusal>()
  #hasReset = false

  constructor(name: string, rights: ClusterRights, network: NetworkClaims<AdmittedCluster>, rules: AdmissionRules) {
    this.name = name
    this.#rights = rights
    this.#allowed = tableOf(rights.cidrs)
    this.#refusalOfService = serviceRule(rights)
    this.#rules = rules
    this.#network = network
    this.#claims = this.#newClaims(network)
  }

  get rights(): ClusterRights {
    return this.#rights
  }

  /** Other rights, and the network that they are in. `done`: all clusters are to be checked again. */
  setRights(rights: ClusterRights, network: NetworkClaims<AdmittedCluster>, done: () => void): void {
    this.#rights = rights
    this.#allowed = tableOf(rights.cidrs)
    this.#refusalOfService = serviceRule(rights)
    this.#endMove()
    if (network !== this.#network) {
      this.#leftClaims = this.#claims
      this.#network = network
      this.#claims = this.#newClaims(network)
    }
    const move = ++this.#moves
    const moved = () => {
      this.#isMoving = false
      done()
    }
    this.#isMoving = true
    inSteps(this.#isLarge, this.#moving(), () => move !== this.#moves, moved)
  }

  /** The cluster is not in the mesh any more. */
  leave(): void {
    this.#endMove()
    this.#rechecks++
    const contested = new Set<string>()
    const recheckOthers = () => {
      this.#recheckOthers(contested)
      contested.clear()
    }
    inSteps(this.#isLarge, this.#claims.clearing(contested), () => false, recheckOthers)
  }

  sink(next: Sink): Sink {
    this.#next = next
    return {
      ...next,
      reset: snapshot => {
        this.#hasReset = true
        // What of it is refused has not been delivered.
        if (snapshot.isDelivered) return next.reset({ services: [], namespaces: [], isDelivered: true })
        const contested = new Set<string>()
        next.reset(this.#admitAll(snapshot, contested))
        this.#recheckNamed(contested)
      },
      recall: (snapshot, since) => {
        if (this.#hasReset) return
        const contested = new Set<string>()
        next.recall?.(this.#admitAll(snapshot, contested), since)
        this.#recheckNamed(contested)
      },
      put: service => {
        const contested = new Set<string>()
        const admitted = this.#take(service, contested)
        if (admitted) next.put(admitted)
        else next.drop(service.namespace, service.name)
        this.#recheckNamed(contested)
      },
      drop: (namespace, name) => {
        const key = serviceKey(namespace, name)
        const declared = this.#declared.get(key)
        const contested = new Set<string>()
        if (declared) this.#replaceIndexed(key, declared, undefined, contested)
        this.#declared.delete(key)
        this.#refused.delete(key)
        next.drop(namespace, name)
        this.#recheckNamed(contested)
      },
      putPod: pod => next.putPod(this.#podOf(pod)),
      putNode: node => {
        this.#setNode(node.name, node)
        next.putNode?.(node)
      },
      dropNode: name => {
        this.#setNode(name, undefined)
        next.dropNode?.(name)
      },
      putGateway: gateway => {
        if (this.#admitsGateway(gateway)) next.putGateway?.(gateway)
      },
      dropGateway: gateway => {
        if (!this.#refusedGateways.delete(gateway.text)) next.dropGateway?.(gateway)
      },
    }
  }

  /** Checks the services again that have an endpoint at one of the addresses. */
  recheck(addresses: Iterable<string>): void {
    const keys = new Set<ServiceKey>()
    for (const address of addresses) {
      for (const key of this.#claims.servicesAt(address)) keys.add(key)
      for (const key of this.#leftClaims?.servicesAt(address) ?? []) keys.add(key)
    }
    this.#recheck(keys)
  }

  /** In turns what was admitted stays meanwhile. */
  recheckAll(inTurns: boolean): void {
    const round = ++this.#rechecks
    const keys = this.#declared.keys()
    this.#isRechecking = true
    const each = function* (recheck: (keys: Iterable<ServiceKey>) => void) {
      for (const key of keys) yield recheck([key])
    }
    inSteps(
      inTurns,
      each(keys => this.#recheck(keys)),
      () => round !== this.#rechecks,
      () => {
        this.#isRechecking = false
      },
    )
  }

  problems(): Problem[] {
    const problems: Problem[] = []
    let more = 0
    for (const [key, refused] of this.#refused) {
      const service = this.#declared.get(key)
      if (!service) continue
      for (const [text, { message }] of refused) {
        if (problems.length === maxShown) more++
        else problems.push({ code: 'ADDRESS_REFUSED', where: placeOf(service), message: `${text} ${message}` })
      }
    }
    for (const [text, { message }] of this.#refusedGateways) {
      problems.push({ code: 'ADDRESS_REFUSED', where: this.name, message: `the gateway ${text} ${message}` })
    }
    if (more > 0) {
      problems.push({ code: 'ADDRESS_REFUSED', where: this.name, message: `${more} more addresses are refused` })
    }
    return problems
  }

  /** What this cluster says of an address. */
  claimOf(address: string): Claim {
    const { local = false, tenant, rank = 0 } = this.#rights
    const given = this.#allowed?.contains(address) ?? false
    return { cluster: this.name, local, tenant, rank, owns: this.#claims.owns(address), given }
  }

  #newClaims(network: NetworkClaims<AdmittedCluster>): ClusterClaims<AdmittedCluster> {
    return new ClusterClaims<AdmittedCluster>(this, network, {
      address: address => this.#refusalOfAddress(address) === undefined,
      range: range => refusalOf(range.at(0), clusterIpRights) === undefined && isWithin(range, this.#rights.cidrs),
    })
  }

  /** Services and addresses. */
  get size(): number {
    return this.#claims.size + (this.#leftClaims?.size ?? 0) + this.#declared.size
  }

  get #isLarge(): boolean {
    return this.size > atOnce
  }

  /** Puts what the cluster says under its rights of now, service by service. Those that come meanwhile are put there at once. */
  *#moving(): Generator<void> {
    const contested = new Set<string>()
    const from = this.#leftClaims ?? this.#claims
    for (const [name, node] of this.#nodes) {
      from.setNode(name, undefined, contested)
      this.#claims.setNode(name, node, contested)
      yield
    }
    for (const [key, service] of this.#declared) {
      from.replace(key, service.endpoints, nothing, contested)
      this.#claims.replace(key, nothing, service.endpoints, contested, this.#mayClaim(service))
      yield
    }
    this.#leftClaims = undefined
  }

  /** What is left of a move is not needed: everything is taken anew, or nothing any more. */
  #endMove(): void {
    this.#moves++
    this.#isMoving = false
    this.#leftClaims?.clear(new Set())
    this.#leftClaims = undefined
  }

  #admitAll(snapshot: Snapshot, contested: Set<string>): Snapshot {
    this.#endMove()
    this.#claims.clear(contested)
    this.#declared.clear()
    this.#refused.clear()
    this.#nodes = new Map(snapshot.nodes?.map(node => [node.name, node]))
    for (const [name, node] of this.#nodes) this.#claims.setNode(name, node, contested)
    const { services, pods, gateways } = snapshot
    this.#refusedGateways.clear()
    return {
      ...snapshot,
      ...(gateways && { gateways: gateways.filter(gateway => this.#admitsGateway(gateway)) }),
      services: services.flatMap(service => this.#take(service, contested) ?? []),
      ...(pods && { pods: pods.map(pod => this.#podOf(pod)) }),
    }
  }

  #setNode(name: string, node: Node | undefined): void {
    if (node) this.#nodes.set(name, node)
    else this.#nodes.delete(name)
    const contested = new Set<string>()
    this.#leftClaims?.setNode(name, undefined, contested)
    this.#claims.setNode(name, node, contested)
    this.#recheckNamed(contested)
  }

  /** Also other services of this cluster: whether an address is its own may be what has changed. */
  #recheckNamed(contested: ReadonlySet<string>): void {
    if (contested.size === 0) return
    this.recheck(contested)
    this.#recheckOthers(contested)
  }

  #recheckOthers(contested: ReadonlySet<string>): void {
    if (contested.size === 0) return
    const byCluster = new Map<AdmittedCluster, string[]>()
    for (const address of contested) {
      for (const cluster of this.#claims.others(address)) {
        const addresses = byCluster.get(cluster)
        if (addresses) addresses.push(address)
        else byCluster.set(cluster, [address])
      }
    }
    for (const [cluster, addresses] of byCluster) cluster.recheck(addresses)
  }

  #recheck(keys: Iterable<ServiceKey>): void {
    for (const key of keys) {
      const service = this.#declared.get(key)
      if (!service) continue
      const before = this.#refused.get(key)
      const admitted = this.#admit(service)
      if (isDeepStrictEqual(before ?? new Map(), admitted.refused)) continue
      this.#remember(key, admitted)
      if (admitted.service) this.#next?.put(admitted.service)
      else this.#next?.drop(service.namespace, service.name)
    }
  }

  #take(service: ClusterService, contested: Set<string>): ClusterService | undefined {
    const key = serviceKey(service.namespace, service.name)
    const before = this.#declared.get(key)
    const touched = touchedOf(before?.endpoints ?? nothing, service.endpoints)
    this.#replaceIndexed(key, before, service, contested, touched)
    this.#declared.set(key, service)
    const admitted = (before && this.#admitAgain(key, before, service, touched)) ?? this.#admit(service)
    this.#remember(key, admitted)
    return admitted.service
  }

  #replaceIndexed(
    key: ServiceKey,
    before: ClusterService | undefined,
    after: ClusterService | undefined,
    contested: Set<string>,
    changed?: Touched<Endpoint>,
  ): void {
    const [all, now] = [before?.endpoints ?? nothing, after?.endpoints ?? nothing]
    if (all === now) return
    const touched = changed && !this.#isMoving ? changed : { before: all, after: now }
    if (before) this.#leftClaims?.replace(key, all, nothing, contested)
    this.#claims.replace(key, touched.before, touched.after, contested, after && this.#mayClaim(after))
  }

  /** A service that the cluster may not have claims nothing. */
  #mayClaim(service: ClusterService): boolean {
    return this.#refusalOfService(service) === undefined
  }

  #remember(key: ServiceKey, { refused }: Admitted): void {
    if (refused.size > 0) this.#refused.set(key, refused)
    else this.#refused.delete(key)
  }

  /**
   * The same for another state of a service of which nothing was refused: what may change that for its other endpoints has them checked
   * again. Undefined if all of it is to be looked at.
   */
  #admitAgain(
    key: ServiceKey,
    before: ClusterService,
    service: ClusterService,
    { after }: Touched<Endpoint>,
  ): Admitted | undefined {
    if (this.#isMoving || this.#isRechecking || this.#refused.has(key)) return undefined
    if (service.serviceImport !== before.serviceImport || this.#refusalOfService(service)) return undefined
    if (service.clusterIPs.some(address => refusalOf(address, clusterIpRights))) return undefined
    let isRefused = false
    const note = () => {
      isRefused = true
    }
    this.#endpointsOf(after, note, address => this.#refusalOf(address))
    return isRefused ? undefined : { service, refused: nobody }
  }

  #admit(service: ClusterService): Admitted {
    const whole = this.#refusalOfService(service)
    if (whole) {
      const refused = new Map([[serviceKey(service.namespace, service.name), whole]])
      return { service: undefined, refused }
    }
    const refused = new Map<string, Refusal>()
    const note = (text: string, refusal: Refusal) => void refused.set(text, refusal)
    const isAddress = (address: string) => {
      const refusal = refusalOf(address, clusterIpRights)
      if (refusal) note(address, refusal)
      return refusal === undefined
    }
    const { serviceImport } = service
    const clusterIPs = filtered(service.clusterIPs, isAddress)
    const endpoints = this.#endpointsOf(service.endpoints, note, address => this.#refusalOf(address))
    const imported = serviceImport && {
      ips: filtered(serviceImport.ips, isAddress),
      // They are in other clusters.
      endpoints: this.#endpointsOf(serviceImport.endpoints, note, address => this.#refusalByRange(address)),
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
    note: (text: string, refusal: Refusal) => void,
    refusalOfAddress: (address: string) => Refusal | undefined,
  ): readonly T[] {
    let isSame = true
    const admitted = endpoints.flatMap((endpoint): T[] => {
      const { address, ports } = endpoint
      const refusal = refusalOfAddress(address)
      if (refusal) {
        isSame = false
        const [port] = ports
        note(port ? endpointText(address, port.port) : address, refusal)
        return []
      }
      const usable = filtered(ports, ({ port, protocol }) => {
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

  /** Why this cluster may not name an address, whatever the others say. */
  #refusalOfAddress(address: string): Refusal | undefined {
    const refusal = this.#refusalByRange(address)
    if (refusal || !this.#allowed || this.#allowed.contains(address)) return refusal
    return outside
  }

  /** A metadata server is refused unless the operator has named it, and not only a range that it is in. */
  #refusalByRange(address: string): Refusal | undefined {
    const refusal = refusalOf(address, this.#rights)
    if (refusal?.reason !== 'metadata') return refusal
    const isNamed = this.#rights.cidrs?.some(({ family, bits, contains }) => {
      return bits === (family === 4 ? 32 : 128) && contains(address)
    })
    return isNamed ? undefined : refusal
  }

  #refusalOf(address: string): Refusal | undefined {
    const refusal = this.#refusalOfAddress(address)
    if (refusal) return refusal
    const others = this.#claims.others(address)
    if (others.length === 0) return undefined
    const claim = this.claimOf(address)
    for (const cluster of others) {
      const other = cluster.claimOf(address)
      if (prevents(other, claim, address)) return refusalOfClaim(claim, other)
    }
    return undefined
  }

  /** A literal address is checked here; what a name leads to, where it is looked up. */
  #admitsGateway({ host, text }: NamedGateway): boolean {
    const refusal = canonicalAddress(host) === undefined ? undefined : refusalOf(host, this.#rights)
    if (refusal)
      this.#refusedGateways.set(text, {
        ...refusal,
        message: refusal.message.replace(/;.*/, '; name an address that others can reach'),
      })
    return refusal === undefined
  }

  #podOf(pod: Pod): Pod {
    const addresses = filtered(pod.addresses, address => refusalOf(address, clusterIpRights) === undefined)
    return addresses === pod.addresses ? pod : { ...pod, addresses }
  }
}

const nothing: readonly Endpoint[] = []
const nobody: Admitted['refused'] = new Map()

/** `isOver`: the rest is not needed. `done` is called after all steps. */
function inSteps(inTurns: boolean, steps: Iterator<void>, isOver: () => boolean, done: () => void = () => {}): void {
  const all = async () => {
    const turns = new Turns()
    while (!isOver()) {
      await turns.next()
      if (isOver()) return
      if (steps.next().done) return done()
    }
  }
  if (inTurns) return void all()
  while (!steps.next().done);
  done()
}

function tableOf(cidrs: readonly Cidr[] | undefined): RangeTable<true> | undefined {
  if (!cidrs) return undefined
  const table = new RangeTable<true>()
  for (const cidr of cidrs) table.add(cidr, true)
  return table
}

function isWithin({ family, bits, at }: Cidr, cidrs: readonly Cidr[] | undefined): boolean {
  return cidrs?.some(cidr => cidr.family === family && cidr.bits <= bits && cidr.contains(at(0))) ?? true
}

/** `cluster-2 default/rebel-base (services.yaml:12)` */
function placeOf({ cluster, namespace, name, origin }: ClusterService): string {
  const text = `${cluster} ${serviceKey(namespace, name)}`
  return origin === undefined ? text : `${text} (${origin})`
}
