/** The records of a service in any zone: those of its own name, and of `_port._proto` below it. */
import type { Protocol } from '../../model/address.ts'
import type { Backend } from '../../model/backend.ts'
import type { GlobalService, ServicePort } from '../../model/service.ts'
import { isHostName } from '../message/record.ts'
import { types } from '../message/wire.ts'
import {
  addressRecords,
  type Lookup,
  nodata,
  nxdomain,
  type SrvTarget,
  srvRecords,
  type ZoneQuestion,
} from './lookup.ts'

/** A target with the name of its port; empty for a port without one. */
interface NamedSrvTarget extends SrvTarget {
  readonly name: string
  readonly protocol: Protocol
}

/** Of a virtual-IP service. `below` are the labels below the service, nearest first. Undefined when they name no port. */
export function virtualRecords(
  asked: ZoneQuestion,
  addresses: readonly string[],
  ports: readonly ServicePort[],
  origin: string,
  below: readonly string[],
): Lookup | undefined {
  const targets = ports.map(
    ({ name, protocol, port }): NamedSrvTarget => ({ name, protocol, port, host: origin, addresses }),
  )
  return serviceRecords(asked, addresses, targets, below)
}

/** Of a headless service: every endpoint has its own ports under its own name. */
export function headlessRecords<
  E extends Pick<Backend, 'address' | 'port' | 'protocol' | 'ports' | 'hostname' | 'otherHostnames'>,
>(
  asked: ZoneQuestion,
  ready: readonly E[],
  nameOf: (endpoint: E) => string,
  below: readonly string[],
): Lookup | undefined {
  const targets = eachNamed(ready)
    .filter(backend => backend.port > 0)
    .flatMap(backend => {
      const { protocol, port, address, ports } = backend
      const target = { protocol, port, host: nameOf(backend), addresses: [address] }
      return (ports.length > 0 ? ports : ['']).map((name): NamedSrvTarget => ({ ...target, name }))
    })
  const addresses = ready.map(backend => backend.address)
  return serviceRecords(asked, addresses, targets, below)
}

function serviceRecords(
  asked: ZoneQuestion,
  addresses: readonly string[],
  targets: readonly NamedSrvTarget[],
  below: readonly string[],
): Lookup | undefined {
  const [first, second, ...rest] = below
  if (first === undefined) {
    return asked.type === types.SRV ? srvRecords(asked, targets) : addressRecords(asked, addresses)
  }
  const protocol = protocols.get(first)
  if (!protocol) return undefined
  const named = targets.filter(target => target.protocol === protocol && target.name !== '')
  // `_tcp` exists where a port below it does (RFC 8020).
  if (second === undefined) return named.length > 0 ? nodata : nxdomain
  const wanted = named.filter(target => `_${target.name.toLowerCase()}` === second)
  if (wanted.length === 0 || rest.length > 0) return nxdomain
  return asked.type === types.SRV ? srvRecords(asked, wanted) : nodata
}

const protocols: ReadonlyMap<string, Protocol> = new Map([
  ['_tcp', 'TCP'],
  ['_udp', 'UDP'],
  ['_sctp', 'SCTP'],
])

/**
 * The addresses of a virtual-IP service: those of its frontends, or its cluster IPs where it has no port. A service with ports and
 * no frontend has no address that is its own: another service has it, or no virtual address is left.
 */
export function addressesOf({ frontends, local }: GlobalService): readonly string[] {
  const [first] = frontends
  if (first) {
    const found = [first.ip]
    for (const { ip } of frontends) if (!found.includes(ip)) found.push(ip)
    return found
  }
  return local && local.ports.length === 0 ? local.clusterIPs : []
}

/** Once more for each other host name at the same address and port. */
export function eachNamed<E extends Pick<Backend, 'hostname' | 'otherHostnames'>>(
  endpoints: readonly E[],
): readonly E[] {
  if (endpoints.every(({ otherHostnames }) => otherHostnames === undefined)) return endpoints
  return endpoints.flatMap(endpoint => [
    endpoint,
    ...(endpoint.otherHostnames ?? []).map(hostname => ({ ...endpoint, hostname })),
  ])
}

/** `hostname` if it is a valid label, else the address with dashes; never ending in a dash (`fd00-1--0`, as in CoreDNS). */
export function endpointLabel(endpoint: { readonly hostname?: string; readonly address: string }): string {
  const hostname = endpoint.hostname?.toLowerCase()
  if (hostname !== undefined && !hostname.includes('.') && isHostName(hostname)) return hostname
  const dashed = endpoint.address.replace(/[.:]/g, '-')
  return dashed.endsWith('-') ? `${dashed}0` : dashed
}
