/** Services by address, for reverse names; updated with each change of the directory, so that a PTR costs one lookup. */
import type { Change, Directory } from '../../model/directory.ts'
import { listDelta } from '../../model/lists/list-delta.ts'
import { MultiMap } from '../../model/lists/multi-map.ts'
import { sameLists } from '../../model/lists/plain-equal.ts'
import type { Endpoint, GlobalService, ServiceKey } from '../../model/service.ts'
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

/**
 * The directory knows the services by the addresses of their backends; here are those by other addresses. What an address is to a
 * service is looked up when it is asked.
 */
export class AddressIndex {
  readonly #directory: Directory
  readonly #services = new MultiMap<ServiceKey>()
  readonly #stop: () => void

  /** `onChange` is called with each address whose owners may have changed. */
  constructor(directory: Directory, onChange: (address: string) => void) {
    this.#directory = directory
    for (const service of directory.services())
      for (const address of otherAddresses(service)) this.#services.add(address, service.key)
    this.#stop = directory.onChange(change => this.#update(change, onChange))
  }

  ownersOf(address: string): readonly AddressOwner[] {
    const keys = new Set([...this.#services.get(address), ...this.#directory.servicesAt(address)])
    return [...keys].flatMap(key => {
      const service = this.#directory.service(key)
      return service ? ownersIn(service, address) : []
    })
  }

  close(): void {
    this.#stop()
  }

  #update(change: Change, onChange: (address: string) => void): void {
    for (const { key, before, after } of change) {
      for (const address of touchedBy(before, after)) onChange(address)
      const [old, now] = [otherAddresses(before), otherAddresses(after)]
      if (sameLists(old, now, Object.is)) continue
      for (const address of old) this.#services.delete(address, key)
      for (const address of now) this.#services.add(address, key)
      for (const address of [...old, ...now]) onChange(address)
    }
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

/** The addresses of a service that are not those of backends. */
function otherAddresses(service: GlobalService | undefined): readonly string[] {
  if (!service) return none
  const imported = importedEntries(service)
  return imported.length === 0
    ? addressesOf(service)
    : [...addressesOf(service), ...imported.map(([address]) => address)]
}

/** The addresses of endpoints whose owners a change may have changed. */
function touchedBy(before: GlobalService | undefined, after: GlobalService | undefined): readonly string[] {
  const [old, now] = [before?.members ?? none, after?.members ?? none]
  if (before?.local === after?.local && sameLists(old, now, Object.is)) return none
  const touched: string[] = []
  for (let i = 0; i < Math.max(old.length, now.length); i++) {
    const known = old[i]
    const member = now[i]
    const isAlike =
      known?.cluster === member?.cluster &&
      known?.headless === member?.headless &&
      (known === before?.local) === (member === after?.local)
    const had = known?.endpoints ?? none
    const has = member?.endpoints ?? none
    const { gone, come } = isAlike ? listDelta<Endpoint>(had, has) : { gone: had, come: has }
    for (const { address } of gone) touched.push(address)
    for (const { address } of come) touched.push(address)
  }
  return touched
}

const none: readonly never[] = []

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
