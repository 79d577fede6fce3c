/** An object that is put again: its endpoints that have not changed stay the same objects, and so does all that is made of them. */
import type { Endpoint, EndpointPort } from '../model/service.ts'
import type { DeclaredEndpoint } from './objects.ts'

/** The endpoints of one object, as they were declared and as they are in the service. */
export interface Known {
  readonly declared: readonly DeclaredEndpoint[]
  readonly resolved: readonly Endpoint[] | undefined
  /** Whether those that were declared have got the places of their nodes. */
  readonly isPlaced: boolean
}

export interface Kept {
  /** In place of what was declared now. */
  readonly declared: readonly DeclaredEndpoint[]
  /** By their place among these: what they were in the service; undefined for new ones. */
  readonly resolved: readonly (Endpoint | undefined)[]
}

/** Those that stay keep their order. */
export function keptEndpoints(known: Known, now: readonly DeclaredEndpoint[]): Kept {
  const before = known.declared
  const resolved: (Endpoint | undefined)[] = []
  let next = 0
  const placeOf = placesOf(before)
  const declared = now.map(endpoint => {
    const at = before[next]?.address === endpoint.address ? next : placeOf(endpoint.address)
    const same = at >= next && isSame(before[at] as DeclaredEndpoint, endpoint, known.isPlaced)
    resolved.push(same ? known.resolved?.[at] : undefined)
    if (same) next = at + 1
    if (!same) return withPortsOf(before[0], endpoint)
    return known.isPlaced ? endpoint : (before[at] as DeclaredEndpoint)
  })
  return { declared, resolved }
}

/** So many are looked for one by one. */
const few = 4

/** The place of an endpoint by its address; -1 where none has it. */
function placesOf(endpoints: readonly DeclaredEndpoint[]): (address: string) => number {
  let asked = 0
  let places: Map<string, number> | undefined
  return address => {
    if (asked++ < few) return endpoints.findLastIndex(one => one.address === address)
    places ??= new Map(endpoints.map((one, place) => [one.address, place]))
    return places.get(address) ?? -1
  }
}

/** `isPlaced`: the earlier one has a place, which it did not declare. */
function isSame(before: DeclaredEndpoint, now: DeclaredEndpoint, isPlaced: boolean): boolean {
  return (
    before.ready === now.ready &&
    before.serving === now.serving &&
    before.terminating === now.terminating &&
    before.hostname === now.hostname &&
    before.pod === now.pod &&
    before.node === now.node &&
    before.weight === now.weight &&
    (isPlaced ? now.zone === undefined && now.region === undefined : samePlace(before, now)) &&
    samePorts(before.ports, now.ports) &&
    sameTexts(before.forZones, now.forZones)
  )
}

function samePlace(before: DeclaredEndpoint, now: DeclaredEndpoint): boolean {
  return before.zone === now.zone && before.region === now.region
}

/** Equal ports are kept once. */
function withPortsOf(other: DeclaredEndpoint | undefined, endpoint: DeclaredEndpoint): DeclaredEndpoint {
  const isOther = other && other.ports !== endpoint.ports && samePorts(other.ports, endpoint.ports)
  return isOther ? { ...endpoint, ports: other.ports } : endpoint
}

function samePorts(a: readonly EndpointPort[], b: readonly EndpointPort[]): boolean {
  if (a === b) return true
  return (
    a.length === b.length &&
    a.every((port, i) => port.port === b[i]?.port && port.protocol === b[i]?.protocol && port.name === b[i]?.name)
  )
}

function sameTexts(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  return a === b || (a !== undefined && a.length === b?.length && a.every((text, i) => text === b[i]))
}
