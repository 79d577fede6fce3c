/** The names that a service has in whatever zone it stands: its own, and `_port._proto` below it. */
import type { Protocol } from '../../model/address.ts'
import type { Backend, Backends } from '../../model/backend.ts'
import type { GlobalService, ServicePort } from '../../model/service.ts'
import { types } from '../message/wire.ts'
import { addressesOf } from './address-index.ts'
import { type Ask, addresses, type Finding, nodata, nxdomain, type Offer, servers } from './lookup.ts'

/** A port with the name it is asked for by; empty for one that has none. */
interface NamedOffer extends Offer {
  readonly name: string
  readonly protocol: Protocol
}

/** `below` are the labels under the service, outermost first. Undefined: they are no port's, but may be an endpoint's. */
export function virtualRecords(
  ask: Ask,
  service: GlobalService,
  ports: readonly ServicePort[],
  origin: string,
  below: readonly string[],
): Finding | undefined {
  const own = addressesOf(service)
  const offers = ports.map(
    ({ name, protocol, port }): NamedOffer => ({ name, protocol, port, target: origin, addresses: own }),
  )
  return serviceRecords(ask, own, offers, below)
}

/** The same for a headless service: every endpoint offers its own ports, under its own name. */
export function headlessRecords(
  ask: Ask,
  ready: Backends,
  nameOf: (backend: Backend) => string,
  below: readonly string[],
): Finding | undefined {
  const offers = ready
    .filter(backend => backend.port > 0)
    .flatMap(backend => {
      const offer = {
        protocol: backend.protocol,
        port: backend.port,
        target: nameOf(backend),
        addresses: [backend.address],
      }
      return (backend.ports.length > 0 ? backend.ports : ['']).map((name): NamedOffer => ({ ...offer, name }))
    })
  return serviceRecords(
    ask,
    ready.map(backend => backend.address),
    offers,
    below,
  )
}

function serviceRecords(
  ask: Ask,
  own: readonly string[],
  offers: readonly NamedOffer[],
  below: readonly string[],
): Finding | undefined {
  const [first, second, ...rest] = below
  if (first === undefined) return ask.type === types.SRV ? servers(ask, offers) : addresses(ask, own)
  const protocol = protocols.get(first)
  if (!protocol) return undefined
  const named = offers.filter(offer => offer.protocol === protocol && offer.name !== '')
  // `_tcp` exists where a port below it does (RFC 8020).
  if (second === undefined) return named.length > 0 ? nodata : nxdomain
  const wanted = named.filter(offer => `_${offer.name.toLowerCase()}` === second)
  if (wanted.length === 0 || rest.length > 0) return nxdomain
  return ask.type === types.SRV ? servers(ask, wanted) : nodata
}

const protocols: ReadonlyMap<string, Protocol> = new Map([
  ['_tcp', 'TCP'],
  ['_udp', 'UDP'],
  ['_sctp', 'SCTP'],
])
