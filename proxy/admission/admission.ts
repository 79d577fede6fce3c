/** The door between the sources and the mesh: what every cluster claims passes it, whatever it was read from. */
import { isDeepStrictEqual } from 'node:util'
import type { Change } from '../model/directory.ts'
import type { Problem } from '../model/error.ts'
import type { Sink } from '../model/sink.ts'
import { TurnWork } from '../model/time/turn.ts'
import type { Refusal } from './address-policy.ts'
import { AdmittedCluster, atOnce } from './admitted-cluster.ts'
import type { ClusterRights } from './cluster-rights.ts'
import { NetworkClaims } from './network-claims.ts'
import { type IsListener, OwnAddresses, type OwnSocket } from './own-addresses.ts'

export interface AdmissionOptions {
  /** Whether all ports of a frontend's address are Starlane's (`proxy.nftables: redirect`). */
  readonly wholeAddresses: boolean
  /** Whether a frontend's listener is there, at another address than its own (`proxy.offload`). */
  readonly isListener?: IsListener
}

const ownAddress: Refusal = {
  reason: 'own',
  message:
    'is an address of Starlane itself, which each connection to it would come back to and open another; list the addresses of pods instead',
}

export class Admission {
  #own: OwnAddresses
  #clusters = new Map<string, AdmittedCluster>()
  /** By name; '' is the one that is shared. */
  #networks = new Map<string, NetworkClaims<AdmittedCluster>>()
  /** Thousands of listeners may share an address. */
  #moved = new Set<string>()
  readonly #recheckMoved = new TurnWork(() => {
    const moved = this.#moved
    this.#moved = new Set()
    this.#recheckAt(moved)
  })

  constructor({ wholeAddresses, isListener }: AdmissionOptions) {
    this.#own = new OwnAddresses(wholeAddresses, isListener)
  }

  /** Sets what a cluster may name. Known services are checked again if that has changed, those of a large cluster in turns. */
  allow(cluster: string, rights: ClusterRights): void {
    const known = this.#clusters.get(cluster)
    const network = this.#network(rights.network)
    if (!known) {
      this.#clusters.set(cluster, new AdmittedCluster(cluster, rights, network, { endpoint: this.#refusalOfOwn }))
    } else if (!isDeepStrictEqual(textOf(rights), textOf(known.rights))) {
      known.setRights(rights, network, () => this.#recheckAll())
    }
  }

  /** Forgets the clusters that are not among these, and what they claimed. */
  keep(clusters: ReadonlySet<string>): void {
    for (const [name, cluster] of this.#clusters) {
      if (clusters.has(name)) continue
      this.#clusters.delete(name)
      cluster.leave()
    }
  }

  /** Where the source of a cluster writes; what is admitted goes on to `next`. The cluster has its rights already. */
  sink(cluster: string, next: Sink): Sink {
    const admitted = this.#clusters.get(cluster)
    if (!admitted) throw new TypeError(`no rights for cluster "${cluster}"`)
    return admitted.sink(next)
  }

  /** Follows the frontends: services with an endpoint at one that has come or gone are written again. */
  follow(change: Change): void {
    this.#recheckAt(this.#own.follow(change))
  }

  /** A listener has come to an address that is no frontend's, or gone: services with an endpoint there are written again soon. */
  listenerMoved(address: string): void {
    this.#moved.add(address)
    this.#recheckMoved.ask()
  }

  /** Whether an address is one of frontends. */
  hasFrontend(address: string): boolean {
    return this.#own.hasFrontend(address)
  }

  /** Replaces the sockets of Starlane that are not frontends; `machine` has the canonical addresses of the interfaces. */
  setSockets(sockets: readonly OwnSocket[], machine: ReadonlySet<string>): void {
    if (this.#own.setSockets(sockets, machine)) this.#recheckAll()
  }

  /** A cluster that may not list an address has it refused, whoever listens there. */
  #recheckAt(addresses: Iterable<string>): void {
    const listing = new Map<AdmittedCluster, string[]>()
    for (const address of addresses) {
      for (const network of this.#networks.values()) {
        for (const cluster of network.listing(address)) {
          const known = listing.get(cluster)
          if (known) known.push(address)
          else listing.set(cluster, [address])
        }
      }
    }
    for (const [cluster, listed] of listing) cluster.recheck(listed)
  }

  /** In turns if all of them together are many. */
  #recheckAll(): void {
    const clusters = [...this.#clusters.values()]
    const inTurns = clusters.reduce((sum, { size }) => sum + size, 0) > atOnce
    for (const cluster of clusters) cluster.recheckAll(inTurns)
  }

  problems(): Problem[] {
    return [...this.#clusters.values()].flatMap(cluster => cluster.problems())
  }

  #network(name = ''): NetworkClaims<AdmittedCluster> {
    const known = this.#networks.get(name) ?? new NetworkClaims<AdmittedCluster>()
    this.#networks.set(name, known)
    return known
  }

  #refusalOfOwn = (address: string, port: number, protocol: OwnSocket['protocol']): Refusal | undefined =>
    this.#own.has(address, port, protocol) ? ownAddress : undefined
}

/** Rights that can be compared: ranges by their text. */
function textOf({ cidrs, ...rest }: ClusterRights): unknown {
  return { ...rest, cidrs: cidrs?.map(({ text }) => text) }
}
