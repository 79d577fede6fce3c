/** From addresses back to names: kept beside the directory, change by change, so that a PTR question costs one lookup. */
import { isDeepStrictEqual } from 'node:util'
import type { Change, Directory } from '../model/directory.ts'
import type { GlobalService, ServiceKey } from '../model/service.ts'
import { isHostName } from './record.ts'

/** A service that an address belongs to: as its own address, or as that of one of its endpoints. */
export interface Reference {
  readonly service: ServiceKey
  /** Absent when the address is the service's own. */
  readonly endpoint?: {
    readonly cluster: string
    readonly label: string
    /** Declared by the local cluster's own Service. */
    readonly local: boolean
    readonly headless: boolean
  }
}

export class Reverse {
  #references = new Map<string, Reference[]>()
  #stop: () => void

  /** `forget` hears which addresses may read otherwise from now on. */
  constructor(directory: Directory, forget: (address: string) => void) {
    for (const service of directory.services()) this.#add(service)
    this.#stop = directory.onChange(change => this.#follow(change, forget))
  }

  at(address: string): readonly Reference[] {
    return this.#references.get(address) ?? none
  }

  close(): void {
    this.#stop()
  }

  #follow(change: Change, forget: (address: string) => void): void {
    for (const { before, after } of change) {
      if (before && after && sameReferences(before, after)) continue
      if (before) for (const address of this.#remove(before)) forget(address)
      if (after) for (const address of this.#add(after)) forget(address)
    }
  }

  #add(service: GlobalService): string[] {
    const references = referencesOf(service)
    for (const [address, reference] of references) {
      const known = this.#references.get(address)
      if (!known) this.#references.set(address, [reference])
      else if (!known.some(other => same(other, reference))) known.push(reference)
    }
    return references.map(([address]) => address)
  }

  #remove(service: GlobalService): string[] {
    const addresses = referencesOf(service).map(([address]) => address)
    for (const address of addresses) {
      const left = this.#references.get(address)?.filter(reference => reference.service !== service.key) ?? none
      if (left.length > 0) this.#references.set(address, left)
      else this.#references.delete(address)
    }
    return addresses
  }
}

const none: Reference[] = []

function referencesOf(service: GlobalService): [string, Reference][] {
  const own = addressesOf(service).map(address => [address, { service: service.key }] as [string, Reference])
  const endpoints = service.members.flatMap(member =>
    member.endpoints
      .filter(endpoint => endpoint.ready)
      .map((endpoint): [string, Reference] => [
        endpoint.address,
        {
          service: service.key,
          endpoint: {
            cluster: member.cluster,
            label: endpointLabel(endpoint),
            local: member === service.local,
            headless: member.headless,
          },
        },
      ]),
  )
  return [...own, ...endpoints]
}

/** What the name of a virtual-IP service answers: its frontends' addresses, or where it has no port its cluster IPs. */
export function addressesOf(service: GlobalService): readonly string[] {
  const ips = [...new Set(service.frontends.map(frontend => frontend.ip))]
  return ips.length > 0 ? ips : (service.local?.clusterIPs ?? [])
}

/** `hostname` if it is one, else the address with dashes; never one that ends in a dash (CoreDNS: `fd00-1--0`). */
export function endpointLabel(endpoint: { readonly hostname?: string; readonly address: string }): string {
  const hostname = endpoint.hostname?.toLowerCase()
  if (hostname !== undefined && !hostname.includes('.') && isHostName(hostname)) return hostname
  const dashed = endpoint.address.replace(/[.:]/g, '-')
  return dashed.endsWith('-') ? `${dashed}0` : dashed
}

function same(a: Reference, b: Reference): boolean {
  return (
    a.service === b.service && a.endpoint?.cluster === b.endpoint?.cluster && a.endpoint?.label === b.endpoint?.label
  )
}

/** Declarations are replaced when they change, so that one of health alone, the most frequent, is known at a glance. */
function sameReferences(before: GlobalService, after: GlobalService): boolean {
  const sameDeclarations = before.local === after.local && equal(before.members, after.members)
  return sameDeclarations
    ? equal(addressesOf(before), addressesOf(after))
    : isDeepStrictEqual(referencesOf(before), referencesOf(after))
}

function equal<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i])
}
