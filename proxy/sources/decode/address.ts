/** Addresses in Kubernetes objects. */
import ipaddr from 'ipaddr.js'
import type { Path } from '../../config/fields.ts'
import { canonicalAddress } from '../../model/address.ts'
import { shown } from '../../model/text/spelling.ts'
import type { Faults } from './faults.ts'

/**
 * Ranges that Kubernetes refuses for endpoints, because they do not lead to a pod: this machine, the cloud's metadata server,
 * multicast. Kubernetes also refuses loopback; here it is allowed, so that a mesh can run on one machine.
 */
const unusableRanges: ReadonlySet<string> = new Set(['unspecified', 'broadcast', 'linkLocal', 'multicast'])

/** The canonical form of an address. For one that cannot be dialled: undefined, and the object is refused. */
export function readAddress(text: string, path: Path, faults: Faults): string | undefined {
  const address = canonicalAddress(text)
  if (address === undefined) faults.refuse(path, `${shown(text)} ${notAnAddress(text)}`)
  else if (unusableRanges.has(ipaddr.parse(address).range()))
    faults.refuse(path, `${shown(text)} is not the address of one pod or service`)
  else return address
  return undefined
}

function notAnAddress(text: string): string {
  return text.includes('%')
    ? 'has a zone, which is only valid on one machine; give the address without it'
    : 'is not an IP address; write it as 10.0.0.7 or fd00::7'
}
