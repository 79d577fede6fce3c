/** The endpoints of one service, from all of its slices. */
import type { Endpoint, EndpointPort } from '../model/service.ts'
import type { DeclaredEndpoint } from './objects.ts'

/** What an endpoint takes from its Service and its Node. */
export interface EndpointContext {
  /** `publishNotReadyAddresses`. Kubernetes then writes ready = true itself; slices written by hand rely on the field. */
  readonly unready: boolean
  readonly zoneOf: (node: string) => string | undefined
  readonly regionOf: (zone: string) => string | undefined
}

export function resolveEndpoint(declared: DeclaredEndpoint, context: EndpointContext): Endpoint {
  const { unready, zoneOf, regionOf } = context
  const ready = declared.ready || unready
  const serving = declared.serving ?? ready
  const zone = declared.zone ?? (declared.node === undefined ? undefined : zoneOf(declared.node))
  const region = declared.region ?? (zone === undefined ? undefined : regionOf(zone))
  const isSame = ready === declared.ready && serving === declared.serving && zone === declared.zone
  if (isSame && region === declared.region) return declared as Endpoint
  return { ...declared, ready, serving, ...(zone !== undefined && { zone }), ...(region !== undefined && { region }) }
}

/**
 * One endpoint per address over all slices of a service, in the order given. A service has a slice for each set of ports, and
 * while a controller moves an endpoint it is in two slices.
 */
export function joinEndpoints(slices: readonly (readonly Endpoint[])[]): readonly Endpoint[] {
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
  for (const [address, endpoints] of repeated) byAddress.set(address, joined(endpoints))
  return [...byAddress.values()]
}

/** Where they disagree, the endpoint stays in use: some slices are out of date, and health checks decide. */
function joined(endpoints: readonly Endpoint[]): Endpoint {
  const described: Partial<Endpoint> = {}
  for (const endpoint of endpoints.toReversed()) Object.assign(described, endpoint)
  return {
    ...(described as Endpoint),
    ports: joinPorts(endpoints.map(({ ports }) => ports)),
    ready: endpoints.some(({ ready }) => ready),
    serving: endpoints.some(({ serving }) => serving),
    terminating: endpoints.every(({ terminating }) => terminating),
  }
}

/** Each port once, in the order given. */
export function joinPorts(lists: readonly (readonly EndpointPort[])[]): readonly EndpointPort[] {
  const byText = new Map<string, EndpointPort>()
  for (const ports of new Set(lists)) {
    for (const port of ports) byText.set(`${port.name} ${port.port}/${port.protocol}`, port)
  }
  return [...byText.values()]
}
