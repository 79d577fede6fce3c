/** Services by address, for reverse names; updated with each change of the directory, so that a PTR costs one lookup. */
import type { Change, Directory } from '../../model/directory.ts'
import type { GlobalService, ServiceKey } from '../../model/service.ts'
import { addressesOf, endpointLabel } from './service-records.ts'
import { importedEndpoints, importOf } from './shared.ts'

/** A service that an address belongs to: as its own address, or as that of one of its endpoints. */
export interface AddressOwner {
  readonly service: ServiceKey
  /** By the local ServiceImport of another implementation: the name is in the clusterset. */
  readonly imported?: true
  /** Absent when the address is the service's own. */
  readonly endpoint?: {
    readonly cluster: string
    readonly label: string
    /** Declared by the local cluster's own Service. */
    readonly local: boolean
    readonly headless: boolean
  }
}

export class AddressIndex {
  readonly #owners = new Map<string, AddressOwner[]>()
  readonly #stop: () => void

  /** `onChange` is called with each address whose owners have changed. */
  constructor(directory: Directory, onChange: (address: string) => void) {
    for (const service of directory.services()) this.#add(entriesOf(service))
    this.#stop = directory.onChange(change => this.#update(change, onChange))
  }

  ownersOf(address: string): readonly AddressOwner[] {
    return this.#owners.get(address) ?? none
  }

  close(): void {
    this.#stop()
  }

  #update(change: Change, onChange: (address: string) => void): void {
    for (const { before, after } of change) {
      if (before && after && sameAddresses(before, after)) continue
      const old = before ? entriesOf(before) : []
      const now = after ? entriesOf(after) : []
      if (sameLists(old, now, sameEntry)) continue
      const known = new Map([...old, ...now].map(([address]) => [address, [...this.ownersOf(address)]]))
      this.#remove(old)
      this.#add(now)
      for (const [address, owners] of known) {
        if (!sameLists(owners, this.ownersOf(address), sameOwner)) onChange(address)
      }
    }
  }

  #add(entries: readonly Entry[]): void {
    for (const [address, owner] of entries) {
      const owners = this.#owners.get(address)
      if (!owners) this.#owners.set(address, [owner])
      else if (!owners.some(other => sameName(other, owner))) owners.push(owner)
    }
  }

  #remove(entries: readonly Entry[]): void {
    for (const [address, { service }] of entries) {
      const left = this.#owners.get(address)?.filter(owner => owner.service !== service) ?? none
      if (left.length > 0) this.#owners.set(address, left)
      else this.#owners.delete(address)
    }
  }
}

const none: AddressOwner[] = []

type Entry = readonly [address: string, AddressOwner]

function entriesOf(service: GlobalService): Entry[] {
  const own = addressesOf(service).map((address): Entry => [address, { service: service.key }])
  const endpoints = service.members.flatMap(member =>
    member.endpoints
      .filter(endpoint => endpoint.ready)
      .map(
        (endpoint): Entry => [
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
  return [...own, ...endpoints, ...importedEntries(service)]
}

function importedEntries(service: GlobalService): Entry[] {
  const found = importOf(service)
  if (!found) return []
  const owner = { service: service.key, imported: true } as const
  const endpoints = importedEndpoints(service).map((each): Entry => {
    const endpoint = { cluster: each.cluster, label: endpointLabel(each), local: false, headless: found.headless }
    return [each.address, { ...owner, endpoint }]
  })
  return [...found.ips.map((address): Entry => [address, owner]), ...endpoints]
}

function sameEntry([address, owner]: Entry, [otherAddress, otherOwner]: Entry): boolean {
  return address === otherAddress && sameOwner(owner, otherOwner)
}

function sameOwner(a: AddressOwner, b: AddressOwner): boolean {
  return sameName(a, b) && a.endpoint?.local === b.endpoint?.local && a.endpoint?.headless === b.endpoint?.headless
}

function sameName(a: AddressOwner, b: AddressOwner): boolean {
  return (
    a.service === b.service &&
    a.imported === b.imported &&
    a.endpoint?.cluster === b.endpoint?.cluster &&
    a.endpoint?.label === b.endpoint?.label
  )
}

/** Declarations are replaced when they change: a change of health alone, the most frequent, is recognized by identity. */
function sameAddresses(before: GlobalService, after: GlobalService): boolean {
  return (
    before.local === after.local &&
    sameLists(before.members, after.members, Object.is) &&
    sameLists(addressesOf(before), addressesOf(after), Object.is)
  )
}

function sameLists<T>(a: readonly T[], b: readonly T[], same: (a: T, b: T) => boolean): boolean {
  return a.length === b.length && a.every((value, i) => same(value, b[i] as T))
}
