/** The endpoints of one service, from all of its slices. */
import { listDelta } from '../model/lists/list-delta.ts'
import type { Node } from '../model/location.ts'
import { type Endpoint, type EndpointPort, precedenceOf } from '../model/service.ts'
import type { DeclaredEndpoint } from './objects.ts'

/** What an endpoint takes from its Service and its Node. */
export interface EndpointContext {
  /** `publishNotReadyAddresses`. Kubernetes then writes ready = true itself; slices written by hand rely on the field. */
  readonly unready: boolean
  readonly nodeOf: (name: string) => Pick<Node, 'name' | 'zone'> | undefined
  readonly regionOf: (zone: string) => string | undefined
}

export function resolveEndpoint(declared: DeclaredEndpoint, context: EndpointContext): Endpoint {
  const { unready, nodeOf, regionOf } = context
  const ready = declared.ready || unready
  const serving = declared.serving ?? ready
  const node = declared.node === undefined ? undefined : nodeOf(declared.node)
  const zone = declared.zone ?? node?.zone
  const region = declared.region ?? (zone === undefined ? undefined : regionOf(zone))
  const isSame = ready === declared.ready && serving === declared.serving && zone === declared.zone
  if (isSame && region === declared.region) return declared as Endpoint
  return (
    plain(declared, { ready, serving, node: node?.name, zone, region }) ?? {
      ...declared,
      ready,
      serving,
      ...(zone !== undefined && { zone }),
      ...(region !== undefined && { region }),
    }
  )
}

/** The endpoint of a pod without anything that is rare. It is written as one literal, which takes half of the memory, with the node's own name. */
function plain(
  { address, ports, terminating, hostname, pod, forZones, weight }: DeclaredEndpoint,
  { ready, serving, node, zone, region }: Pick<Endpoint, 'ready' | 'serving'> & Placed,
): Endpoint | undefined {
  if (hostname !== undefined || forZones !== undefined || weight !== undefined) return undefined
  if (pod === undefined || node === undefined || zone === undefined) return undefined
  return region === undefined
    ? { address, ports, ready, serving, terminating, pod, node, zone }
    : { address, ports, ready, serving, terminating, pod, node, zone, region }
}

interface Placed {
  readonly node: string | undefined
  readonly zone: string | undefined
  readonly region: string | undefined
}

/** Whether the endpoints say themselves all that {@link resolveEndpoint} looks at, but zone and region. */
export function lackOnlyPlaces(endpoints: readonly DeclaredEndpoint[]): boolean {
  return endpoints.every(
    ({ serving, zone, region }) => serving !== undefined && zone === undefined && region === undefined,
  )
}

/** As it was declared, if it lacked only its place. */
export function withoutPlace({ zone, region, ...declared }: DeclaredEndpoint): DeclaredEndpoint {
  return declared
}

/**
 * The endpoints of all slices of a service, in the order given. An endpoint belongs to its slice: two with one address stay
 * apart unless they differ in nothing but their ports. A port that several of them list belongs to the first by
 * {@link precedenceOf}; the others lose it.
 */
export function joinEndpoints(slices: readonly (readonly Endpoint[])[]): readonly Endpoint[] {
  return joinAgain(slices, undefined).endpoints
}

export interface Joined {
  readonly endpoints: readonly Endpoint[]
  /** Whether these are the endpoints of the slices as they are, each at an address of its own. */
  readonly isPlain: boolean
}

/** With more new endpoints, all are joined anew. */
const fewNew = 16

/** The same after a change of some slices. `before`: what they were joined to, if it was plain. */
export function joinAgain(slices: readonly (readonly Endpoint[])[], before: readonly Endpoint[] | undefined): Joined {
  if (!before) return joinAll(slices)
  const endpoints = flat(slices)
  const { come } = listDelta(before, endpoints)
  if (come.length > fewNew) return joinAll(slices)
  if (come.length === 0) return { endpoints, isPlain: true }
  const addresses = new Set(come.map(({ address }) => address))
  const owners = endpoints.reduce((count, { address }) => count + Number(addresses.has(address)), 0)
  const isPlain = owners === come.length && addresses.size === come.length
  return isPlain ? { endpoints, isPlain } : joinAll(slices)
}

function joinAll(slices: readonly (readonly Endpoint[])[]): Joined {
  const byAddress = new Map<string, Endpoint>()
  const repeated = new Map<string, Endpoint[]>()
  for (const slice of slices) {
    for (const endpoint of slice) {
      const { address } = endpoint
      const first = byAddress.get(address)
      const others = repeated.get(address)
      if (!first) byAddress.set(address, endpoint)
      else if (others) others.push(endpoint)
      else repeated.set(address, [first, endpoint])
    }
  }
  if (repeated.size === 0) return { endpoints: flat(slices), isPlain: true }
  const endpoints = [...byAddress].flatMap(([address, endpoint]) => {
    const all = repeated.get(address)
    return all ? joined(owners(all)) : endpoint
  })
  return { endpoints, isPlain: false }
}

/** Most services have one slice: then its list is theirs. */
function flat(slices: readonly (readonly Endpoint[])[]): readonly Endpoint[] {
  const [first = []] = slices
  return slices.length <= 1 ? first : slices.flat()
}

/** Endpoints of one address, each with the ports that it has; without those that have lost all of theirs. */
function owners(endpoints: readonly Endpoint[]): Endpoint[] {
  const first = new Map<string, number>()
  for (const endpoint of endpoints) {
    const precedence = precedenceOf(endpoint)
    for (const port of endpoint.ports) {
      const place = placeOf(port)
      first.set(place, Math.min(first.get(place) ?? precedence, precedence))
    }
  }
  return endpoints.flatMap(endpoint => {
    const ports = endpoint.ports.filter(port => first.get(placeOf(port)) === precedenceOf(endpoint))
    if (ports.length === endpoint.ports.length) return endpoint
    return ports.length > 0 ? { ...endpoint, ports } : []
  })
}

function placeOf({ port, protocol }: EndpointPort): string {
  return `${port}/${protocol}`
}

/** One for all that differ only in their ports: a service has a slice for each set of ports. */
function joined(endpoints: readonly Endpoint[]): Endpoint[] {
  const same = Map.groupBy(endpoints, ({ ready, serving, terminating, hostname, pod, node, zone, ...rest }) =>
    JSON.stringify([ready, serving, terminating, hostname, pod, node, zone, rest.region, rest.forZones, rest.weight]),
  )
  return [...same.values()].map(group => {
    const [first] = group as [Endpoint]
    return group.length === 1 ? first : { ...first, ports: joinPorts(group.map(({ ports }) => ports)) }
  })
}

/** Each port once, in the order given. */
export function joinPorts(lists: readonly (readonly EndpointPort[])[]): readonly EndpointPort[] {
  const byText = new Map<string, EndpointPort>()
  for (const ports of new Set(lists)) {
    for (const port of ports) byText.set(`${port.name} ${port.port}/${port.protocol}`, port)
  }
  return [...byText.values()]
}
