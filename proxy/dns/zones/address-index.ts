/** From addresses back to names: kept beside the directory, change by change, so that a PTR question costs one lookup. */
import type { Change, Directory } from '../../model/directory.ts'
import type { GlobalService, ServiceKey } from '../../model/service.ts'
import { isHostName } from '../message/record.ts'

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
    for (const service of directory.services()) this.#add(referencesOf(service))
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
      if (before && after && sameAddresses(before, after)) continue
      const old = before ? referencesOf(before) : []
      const now = after ? referencesOf(after) : []
      if (old.length === now.length && old.every((named, i) => sameNamed(named, now[i] as Named))) continue
      const known = new Map([...old, ...now].map(([address]) => [address, [...this.at(address)]]))
      this.#remove(old)
      this.#add(now)
      for (const [address, references] of known) {
        if (!alike(references, this.at(address))) forget(address)
      }
    }
  }

  #add(references: readonly Named[]): void {
    for (const [address, reference] of references) {
      const known = this.#references.get(address)
      if (!known) this.#references.set(address, [reference])
      else if (!known.some(other => same(other, reference))) known.push(reference)
    }
  }

  #remove(references: readonly Named[]): void {
    for (const [address, { service }] of references) {
      const left = this.#references.get(address)?.filter(reference => reference.service !== service) ?? none
      if (left.length > 0) this.#references.set(address, left)
      else this.#references.delete(address)
    }
  }
}

const none: Reference[] = []

type Named = readonly [address: string, Reference]

function sameNamed([address, reference]: Named, [other, another]: Named): boolean {
  return address === other && identical(reference, another)
}

function referencesOf(service: GlobalService): Named[] {
  const own = addressesOf(service).map((address): Named => [address, { service: service.key }])
  const endpoints = service.members.flatMap(member =>
    member.endpoints
      .filter(endpoint => endpoint.ready)
      .map(
        (endpoint): Named => [
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
        ],
      ),
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

function alike(before: readonly Reference[], after: readonly Reference[]): boolean {
  return before.length === after.length && before.every((one, i) => identical(one, after[i] as Reference))
}

function identical(a: Reference, b: Reference): boolean {
  return same(a, b) && a.endpoint?.local === b.endpoint?.local && a.endpoint?.headless === b.endpoint?.headless
}

/** Declarations are replaced when they change, so that one of health alone, the most frequent, is known at a glance. */
function sameAddresses(before: GlobalService, after: GlobalService): boolean {
  return (
    before.local === after.local &&
    equal(before.members, after.members) &&
    equal(addressesOf(before), addressesOf(after))
  )
}

function equal<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i])
}
