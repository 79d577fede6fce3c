import type { Endpoint, EndpointPort } from '../model/service.ts'
import type { DeclaredEndpoint } from './decode/objects.ts'

/** What an endpoint takes from elsewhere. */
export interface Surroundings {
  /** `publishNotReadyAddresses`: Kubernetes then writes ready = true itself, but who writes slices by hand relies on the field. */
  readonly unready: boolean
  readonly zoneOf: (node: string) => string | undefined
}

export function resolveEndpoint(declared: DeclaredEndpoint, { unready, zoneOf }: Surroundings): Endpoint {
  const ready = declared.ready || unready
  const zone = declared.zone ?? (declared.node === undefined ? undefined : zoneOf(declared.node))
  return {
    ...declared,
    ready,
    serving: declared.serving ?? ready,
    ...(zone !== undefined && { zone }),
  }
}

/**
 * One endpoint per address over all slices of a service, in the order given. A service has as many slices as it has sets
 * of ports, and while a controller moves an endpoint it is in two of them.
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

/** What they disagree on goes the way that keeps the endpoint in use: some of them are out of date, and checks will tell. */
function joined(endpoints: readonly Endpoint[]): Endpoint {
  const described: Partial<Endpoint> = {}
  for (const endpoint of endpoints.toReversed()) Object.assign(described, endpoint)
  return {
    ...(described as Endpoint),
    ports: joinPorts(endpoints),
    ready: endpoints.some(({ ready }) => ready),
    serving: endpoints.some(({ serving }) => serving),
    terminating: endpoints.every(({ terminating }) => terminating),
  }
}

function joinPorts(endpoints: readonly Endpoint[]): readonly EndpointPort[] {
  const byText = new Map<string, EndpointPort>()
  for (const ports of new Set(endpoints.map(({ ports }) => ports))) {
    for (const port of ports) byText.set(`${port.name} ${port.port}/${port.protocol}`, port)
  }
  return [...byText.values()]
}
