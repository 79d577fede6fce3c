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

  /** `onChange` is called with each address whose owners have changed. */
  constructor(directory: Directory, onChange: (address: string) => void) {
    this.#directory = directory
    for (const service of directory.services()) {
      for (const address of ownersByAddress(service).keys()) this.#add(address, service.key)
    }
    this.#stop = directory.onChange(change => this.#update(change, onChange))
  }

  ownersOf(address: string): readonly AddressOwner[] {
    return this.#servicesAt(address).flatMap(key => {
      const service = this.#directory.service(key)
      return service ? (ownersByAddress(service, new Set([address])).get(address) ?? none) : none
    })
  }

  close(): void {
    this.#stop()
  }

  #update(change: Change, onChange: (address: string) => void): void {
    for (const { key, before, after } of change) {
      if (before && after && sameAddresses(before, after)) continue
      const asked = before && after ? touchedBy(before, after) : undefined
      const old = before ? ownersByAddress(before, asked) : new Map<string, AddressOwner[]>()
      const now = after ? ownersByAddress(after, asked) : new Map<string, AddressOwner[]>()
      for (const [address, owners] of old) {
        const left = now.get(address)
        if (!left) this.#remove(address, key)
        if (!sameLists(owners, left ?? none, sameOwner)) onChange(address)
      }
      for (const address of now.keys()) {
        if (old.has(address)) continue
        this.#add(address, key)
        onChange(address)
      }
    }
  }

  #servicesAt(address: string): readonly ServiceKey[] {
    const known = this.#services.get(address)
    return known === undefined ? [] : typeof known === 'string' ? [known] : known
  }

  #add(address: string, key: ServiceKey): void {
    const known = this.#servicesAt(address)
    if (!known.includes(key)) this.#services.set(address, known.length === 0 ? key : [...known, key])
  }

  #remove(address: string, key: ServiceKey): void {
    const left = this.#servicesAt(address).filter(other => other !== key)
    const [first] = left
    if (first === undefined) this.#services.delete(address)
    else this.#services.set(address, left.length === 1 ? first : left)
  }
}

const none: readonly AddressOwner[] = []

type Entry = readonly [address: string, AddressOwner]

/** Owners of one name are one. `only`: of these addresses alone; all endpoints of the service are looked through at each of its changes. */
function ownersByAddress(service: GlobalService, only?: ReadonlySet<string>): Map<string, AddressOwner[]> {
  const found = new Map<string, AddressOwner[]>()
  const { key } = service
  for (const address of addressesOf(service)) add(found, address, { service: key }, only)
  for (const member of service.members) {
    const { cluster, headless } = member
    for (const endpoint of member.endpoints) {
      const { address, ready } = endpoint
      if (!ready || only?.has(address) === false) continue
      const local = member === service.local
      add(found, address, { service: key, endpoint: { cluster, label: endpointLabel(endpoint), local, headless } })
    }
  }
  for (const [address, owner] of importedEntries(service)) add(found, address, owner, only)
  return found
}

function add(
  found: Map<string, AddressOwner[]>,
  address: string,
  owner: AddressOwner,
  only?: ReadonlySet<string>,
): void {
  if (only?.has(address) === false) return
  const owners = found.get(address)
  if (!owners) found.set(address, [owner])
  else if (!owners.some(other => sameName(other, owner))) owners.push(owner)
}

/** The addresses whose owners a change may have changed; undefined: any, since more than endpoints has changed. */
function touchedBy(before: GlobalService, after: GlobalService): ReadonlySet<string> | undefined {
  if (before.members.length !== after.members.length) return undefined
  if (before.local?.serviceImport !== after.local?.serviceImport) return undefined
  const touched = new Set<string>()
  for (let i = 0; i < after.members.length; i++) {
    const [known, member] = [before.members[i] as ClusterService, after.members[i] as ClusterService]
    if (known === member) continue
    if (known.cluster !== member.cluster || known.headless !== member.headless) return undefined
    if ((known === before.local) !== (member === after.local)) return undefined
    const { gone, come } = listDelta(known.endpoints, member.endpoints)
    for (const { address } of gone) touched.add(address)
    for (const { address } of come) touched.add(address)
  }
  const [old, now] = [addressesOf(before), addressesOf(after)]
  if (!sameLists(old, now, Object.is)) for (const address of [...old, ...now]) touched.add(address)
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
