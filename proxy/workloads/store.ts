/** Pods, identities and policies of all clusters: the sources write them, plugins read them. */
import { isDeepStrictEqual } from 'node:util'
import { familyOf, isLoopback } from '../model/address.ts'
import type { Sink } from '../model/sink.ts'
import type { Occupant } from '../model/workloads/identity.ts'
import type { NameAnswer } from '../model/workloads/name-answers.ts'
import type { PolicyObject } from '../model/workloads/policy-object.ts'
import type { WorkloadChange, Workloads } from '../model/workloads/workloads.ts'
import { ClusterWorkloads, otherIdentity } from './cluster-workloads.ts'
import { NameWatch } from './name-watch.ts'

/** What a source has to say here; its services go elsewhere. */
export type WorkloadSink = Required<
  Pick<
    Sink,
    | 'reset'
    | 'putPod'
    | 'dropPod'
    | 'putNamespace'
    | 'dropNamespace'
    | 'putPolicy'
    | 'dropPolicy'
    | 'putAddress'
    | 'dropAddress'
    | 'putIdentity'
    | 'dropIdentity'
  >
>

const host: Occupant = Object.freeze({ identity: otherIdentity('host', ''), pod: undefined, ports: Object.freeze([]) })

export class WorkloadStore implements Workloads {
  /** For the DNS responder. */
  readonly names = new NameWatch()
  readonly #defer: (run: () => void) => void
  readonly #listeners = new Set<(change: WorkloadChange) => void>()
  /** In the order in which they are asked; the local one first. */
  #clusters = new Map<string, ClusterWorkloads>()
  #machine: ReadonlySet<string> = new Set()
  #isFrontend: (address: string) => boolean = () => false
  #addresses = new Set<string>()
  #everything = false
  #policiesChanged = false
  #isAnnounced = false
  #areHeld = false

  /** `defer` schedules the call of the listeners; by default at the end of the current turn. */
  constructor(defer: (run: () => void) => void = queueMicrotask) {
    this.#defer = defer
  }

  /** The clusters of the mesh, the local one first. Others are forgotten. */
  setClusters(names: readonly string[]): void {
    const before = this.#clusters
    this.#clusters = new Map(names.map(name => [name, before.get(name) ?? this.#newCluster(name)]))
    if ([...before.keys()].join() === names.join()) return
    this.#everything = true
    this.#policiesChanged = true
    this.#announce()
  }

  /**
   * The canonical addresses of this machine: of the node, or of the Pod that Starlane runs in. A client at the address of a frontend is here
   * too, since the kernel gives a program the local address that it connects to, where no route says another.
   */
  setMachine(addresses: ReadonlySet<string>, isFrontend: (address: string) => boolean = () => false): void {
    this.#isFrontend = isFrontend
    if (isDeepStrictEqual(this.#machine, addresses)) return
    this.#machine = addresses
    this.#everything = true
    this.#announce()
  }

  /** Where the source of a cluster writes. The cluster must be one of the mesh. */
  sink(name: string): WorkloadSink {
    const cluster = this.#clusters.get(name)
    if (!cluster) throw new TypeError(`"${name}" is not a cluster of the mesh`)
    return {
      reset: snapshot => cluster.reset(snapshot),
      putPod: pod => cluster.putPod(pod),
      dropPod: (namespace, name) => cluster.dropPod(namespace, name),
      putNamespace: namespace => cluster.putNamespace(namespace),
      dropNamespace: name => cluster.dropNamespace(name),
      putPolicy: policy => cluster.putPolicy(policy),
      dropPolicy: policy => cluster.dropPolicy(policy),
      putAddress: record => cluster.putAddress(record),
      dropAddress: record => cluster.dropAddress(record),
      putIdentity: identity => cluster.putIdentity(identity),
      dropIdentity: identity => cluster.dropIdentity(identity),
    }
  }

  at(address: string, cluster?: string): Occupant | undefined {
    const found = cluster === undefined ? this.#firstAt(address) : this.#clusters.get(cluster)?.at(address)
    // A Pod comes before the machine: the addresses of a demo's pods are those of this machine too.
    if (found?.identity.kind === 'pod') return found
    if (cluster !== undefined && cluster !== this.#local?.name) return found
    const isHere = this.#machine.has(address) && !isLoopback(address)
    const isClientHere = cluster === undefined && (isLoopback(address) || this.#isFrontend(address))
    if (isHere || isClientHere) return this.#ownPod(address) ?? host
    return found?.identity.kind === 'node' && this.#isOwnNode(address) ? host : found
  }

  addressesOf(pod: string): readonly string[] {
    for (const cluster of this.#clusters.values()) {
      const addresses = cluster.addressesOf(pod)
      if (addresses.length > 0) return addresses
    }
    return []
  }

  *examples(): Generator<string> {
    for (const cluster of this.#clusters.values()) yield* cluster.examples()
  }

  /** While policies are held there are none, as far as plugins see. */
  holdPolicies(held: boolean): void {
    if (held === this.#areHeld) return
    this.#areHeld = held
    this.#policiesChanged = true
    this.#announce()
  }

  policies(): readonly PolicyObject[] {
    if (this.#areHeld) return []
    return [...this.#clusters.values()].flatMap(cluster => cluster.policies())
  }

  get size(): { readonly addresses: number; readonly policies: number } {
    const all = [...this.#clusters.values()]
    return {
      addresses: all.reduce((sum, { addresses }) => sum + addresses, 0),
      policies: all.reduce((sum, { policyCount }) => sum + policyCount, 0),
    }
  }

  onChange(listener: (change: WorkloadChange) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  watchNames(wants: (name: string) => boolean, listener: (answer: NameAnswer) => void): () => void {
    return this.names.follow(wants, listener)
  }

  get #local(): ClusterWorkloads | undefined {
    return this.#clusters.values().next().value
  }

  #firstAt(address: string): Occupant | undefined {
    for (const cluster of this.#clusters.values()) {
      const found = cluster.at(address)
      if (found) return found
    }
    return undefined
  }

  /** The Pod that Starlane runs in, beside an application or as a gateway, with its address of the family of `like`. */
  #ownPod(like: string): Occupant | undefined {
    const [first, ...others] = this.#ownPodAddresses()
    if (first === undefined) return undefined
    const address = [first, ...others].find(each => familyOf(each) === familyOf(like)) ?? first
    const occupant = this.#local?.at(address)
    return occupant && { ...occupant, address }
  }

  /** Those of this machine that are a Pod's; none if they are of several Pods, as in a demo. */
  #ownPodAddresses(): string[] {
    const found: { readonly address: string; readonly occupant: Occupant }[] = []
    for (const address of this.#machine) {
      const occupant = isLoopback(address) ? undefined : this.#local?.at(address)
      if (occupant?.identity.kind === 'pod') found.push({ address, occupant })
    }
    const [first] = found
    const isOne = found.every(
      ({ occupant: { pod, identity } }) => pod === first?.occupant.pod && identity === first?.occupant.identity,
    )
    return isOne ? found.map(({ address }) => address) : []
  }

  #isOwnNode(address: string): boolean {
    return this.#ownPodAddresses().some(own => this.#local?.nodesOf(own).includes(address))
  }

  #newCluster(name: string): ClusterWorkloads {
    return new ClusterWorkloads(name, {
      address: address => {
        // Loopback addresses, and that of the node, may be another's too.
        if (this.#machine.has(address)) this.#everything = true
        if (!this.#everything) this.#addresses.add(address)
        this.#announce()
      },
      everything: () => {
        this.#everything = true
        this.#addresses.clear()
        this.#announce()
      },
      policies: () => {
        this.#policiesChanged = true
        this.#announce()
      },
    })
  }

  #announce(): void {
    if (this.#isAnnounced) return
    this.#isAnnounced = true
    this.#defer(() => {
      const change = { addresses: this.#addresses, everything: this.#everything, policies: this.#policiesChanged }
      this.#isAnnounced = false
      this.#addresses = new Set()
      this.#everything = false
      this.#policiesChanged = false
      for (const listener of this.#listeners) listener(change)
    })
  }
}
