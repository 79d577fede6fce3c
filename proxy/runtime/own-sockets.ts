/** The sockets that Starlane listens on besides frontends, and the addresses of this machine that they may stand for. */
import { networkInterfaces } from 'node:os'
import type { OwnSocket } from '../admission/own-addresses.ts'
import { canonicalAddress, type SocketAddress } from '../model/address.ts'

interface OwnAddresses {
  readonly dns: SocketAddress
  readonly admin: SocketAddress
  readonly metrics?: SocketAddress | undefined
  readonly gateway?: SocketAddress | undefined
}

export function ownSockets({ dns, admin, metrics, gateway }: OwnAddresses): OwnSocket[] {
  return [
    { ...dns, protocol: 'UDP' },
    { ...dns, protocol: 'TCP' },
    { ...admin, protocol: 'TCP' },
    ...(metrics ? [{ ...metrics, protocol: 'TCP' as const }] : []),
    ...(gateway ? [{ ...gateway, protocol: 'TCP' as const }] : []),
  ]
}

/** The canonical addresses of the network interfaces, but those of one link, which come and go with each Pod and are nobody's endpoints. */
export function machineAddresses(): ReadonlySet<string> {
  const addresses = Object.values(networkInterfaces()).flatMap(each => each ?? [])
  const known = addresses.filter(({ scopeid = 0 }) => scopeid === 0)
  return new Set(known.flatMap(({ address }) => canonicalAddress(address) ?? []))
}
