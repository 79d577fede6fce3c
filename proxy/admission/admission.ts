/** The door between the sources and the mesh: the addresses of every cluster pass it, whatever they were read from. */
import type { Change } from '../model/directory.ts'
import type { Problem } from '../model/error.ts'
import type { Sink } from '../model/sink.ts'
import { type AddressRefusal, type AddressRights, refusalOf } from './address-policy.ts'
import { AdmittedCluster } from './admitted-cluster.ts'
import { OwnAddresses, type OwnSocket } from './own-addresses.ts'

export interface AdmissionOptions {
  /** Whether all ports of a frontend's address are Starlane's (`proxy.nftables: redirect`). */
  readonly wholeAddresses: boolean
}

const ownAddress: AddressRefusal = {
  reason: 'own',
  message:
    'is an address of Starlane itself, which each connection to it would come back to and open another; list the addresses of pods instead',
}

export class Admission {
  #own: OwnAddresses
  #clusters = new Map<string, AdmittedCluster>()

  constructor({ wholeAddresses }: AdmissionOptions) {
    this.#own = new OwnAddresses(wholeAddresses)
  }

  /** Sets what a cluster may name. Known services are checked again if that has changed. */
  allow(cluster: string, rights: AddressRights): void {
    const known = this.#clusters.get(cluster)
    if (known) known.setRights(rights)
    else this.#clusters.set(cluster, new AdmittedCluster(rights, { address: refusalOf, endpoint: this.#refusalOfOwn }))
  }

  /** Forgets the clusters that are not among these. */
  keep(clusters: ReadonlySet<string>): void {
    for (const name of this.#clusters.keys()) if (!clusters.has(name)) this.#clusters.delete(name)
  }

  /** Where the source of a cluster writes; what is admitted goes on to `next`. The cluster has its rights already. */
  sink(cluster: string, next: Sink): Sink {
    const admitted = this.#clusters.get(cluster)
    if (!admitted) throw new TypeError(`no rights for cluster "${cluster}"`)
    return admitted.sink(next)
  }

  /** Follows the frontends: services with an endpoint at one that has come or gone are written again. */
  follow(change: Change): void {
    const addresses = this.#own.follow(change)
    if (addresses.size > 0) for (const cluster of this.#clusters.values()) cluster.recheck(addresses)
  }

  /** Replaces the sockets of Starlane that are not frontends; `machine` has the canonical addresses of the interfaces. */
  setSockets(sockets: readonly OwnSocket[], machine: ReadonlySet<string>): void {
    this.#own.setSockets(sockets, machine)
    for (const cluster of this.#clusters.values()) cluster.recheckAll()
  }

  problems(): Problem[] {
    return [...this.#clusters.values()].flatMap(cluster => cluster.problems())
  }

  #refusalOfOwn = (address: string, port: number, protocol: OwnSocket['protocol']): AddressRefusal | undefined =>
    this.#own.has(address, port, protocol) ? ownAddress : undefined
}
