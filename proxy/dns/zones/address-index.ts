/** Services by address, for reverse names; updated with each change of the directory, so that a PTR costs one lookup. */
import type { Change, Directory } from '../../model/directory.ts'
import { LargeMap } from '../../model/lists/large-map.ts'
import { listDelta } from '../../model/lists/list-delta.ts'
import type { ClusterService, GlobalService, ServiceKey } from '../../model/service.ts'
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

/** Keeps only which services an address belongs to, since there are many addresses; what they are to it is looked up when it is asked. */
export class AddressIndex {
  readonly #directory: Directory
  /** Most addresses belong to one service, and need no list. */
  readonly #services = new LargeMap<ServiceKey | readonly ServiceKey[]>()
  readonly #stop: () => void

  /** `onChange` is called with each address whose owners may have changed. */
  constructor(directory: Directory, onChange: (address: string) => void) {
    this.#directory = directory
    for (const service of directory.services()) {
      for (const address of allAddresses(service)) this.#add(address, service.key)
    }
    this.#stop = directory.onChange(change => this.#update(change, onChange))
  }

  ownersOf(address: string): readonly AddressOwner[] {
    return this.#servicesAt(address).flatMap(key => {
      const service = this.#directory.service(key)
      return service ? ownersIn(service, address) : []
    })
  }

  close(): void {
    this.#stop()
  }

  #update(change: Change, onChange: (address: string) => void): void {
    for (const { key, before, after } of change) {
      if (before && after && sameAddresses(before, after)) continue
      const touched = before && after && touchedBy(before, after)
      const isThere = touched ? (address: string) => hasAddress(after, address) : isIn(allAddresses(after))
      for (const address of touched ?? new Set([...allAddresses(before), ...allAddresses(after)])) {
        if (isThere(address)) this.#add(address, key)
        else this.#remove(address, key)
        onChange(address)
      }
    }
  }

  #servicesAt(address: string): readonly ServiceKey[] {
    const known = this.#services.get(address)
    return known === undefined ? [] : typeof known === 'string' ? [known] : known
  }

  #add(address: string, key: ServiceKey): void {
    const known = this.#services.get(address)
    if (known === undefined) this.#services.set(address, key)
    else if (!this.#servicesAt(address).includes(key)) this.#services.set(address, [...this.#servicesAt(address), key])
  }

  #remove(address: string, key: ServiceKey): void {
    const known = this.#services.get(address)
    if (known === key) return void this.#services.delete(address)
    if (typeof known !== 'object') return
    const [first, ...others] = known.filter(other => other !== key)
    if (first === undefined) this.#services.delete(address)
    else this.#services.set(address, others.length === 0 ? first : [first, ...others])
  }
}

type Entry = readonly [address: string, AddressOwner]

/** What an address is to a service. Owners of one name are one. */
function ownersIn(service: GlobalService, address: string): readonly AddressOwner[] {
  const { key } = service
  const found: AddressOwner[] = []
  const add = (owner: AddressOwner) => {
    if (!found.some(other => sameName(other, owner))) found.push(owner)
  }
  if (addressesOf(service).includes(address)) add({ service: key })
  for (const member of service.members) {
    const { cluster, headless } = member
    const local = member === service.local
    for (const endpoint of member.endpoints) {
      if (endpoint.address !== address || !endpoint.ready) continue
      add({ service: key, endpoint: { cluster, label: endpointLabel(endpoint), local, headless } })
    }
  }
  for (const [imported, owner] of importedEntries(service)) if (imported === address) add(owner)
  return found
}

/** All addresses that {@link ownersIn} finds in a service. */
function allAddresses(service: GlobalService | undefined): ReadonlySet<string> {
  const found = new Set(service && addressesOf(service))
  for (const { endpoints } of service?.members ?? []) {
    for (const { address, ready } of endpoints) if (ready) found.add(address)
  }
  for (const [address] of service ? importedEntries(service) : []) found.add(address)
  return found
}

/** The same for one address. */
function hasAddress(service: GlobalService, address: string): boolean {
  for (const { endpoints } of service.members) {
    for (const endpoint of endpoints) if (endpoint.address === address && endpoint.ready) return true
  }
  return addressesOf(service).includes(address)
}

function isIn(addresses: ReadonlySet<string>): (address: string) => boolean {
  return address => addresses.has(address)
}

/** The addresses whose owners a change may have changed; undefined: any, since more than endpoints has changed. */
function touchedBy(before: GlobalService, after: GlobalService): readonly string[] | undefined {
  if (before.members.length !== after.members.length) return undefined
  // What an import adds depends on what the clusters share.
  if (importOf(before) || importOf(after)) return undefined
  const touched: string[] = []
  for (let i = 0; i < after.members.length; i++) {
    const [known, member] = [before.members[i] as ClusterService, after.members[i] as ClusterService]
    if (known === member) continue
    if (known.cluster !== member.cluster || known.headless !== member.headless) return undefined
    if ((known === before.local) !== (member === after.local)) return undefined
    const { gone, come } = listDelta(known.endpoints, member.endpoints)
    for (const { address } of gone) touched.push(address)
    for (const { address } of come) touched.push(address)
  }
  const [old, now] = [addressesOf(before), addressesOf(after)]
  if (!sameLists(old, now, Object.is)) touched.push(...old, ...now)
  return touched
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
