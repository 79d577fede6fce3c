import ipaddr from 'ipaddr.js'
import type { Path } from '../../config/fields.ts'
import { canonicalAddress } from '../../model/address.ts'
import { shown } from '../../model/text/spelling.ts'
import type { Faults } from './faults.ts'

/**
 * Ranges that Kubernetes refuses for endpoints, since dialling them reaches something else than a pod: this machine,
 * the cloud's metadata server, a whole group. It refuses loopback as well; here that is how a mesh runs on one machine.
 */
const unusableRanges: ReadonlySet<string> = new Set(['unspecified', 'broadcast', 'linkLocal', 'multicast'])

/** The canonical form of an address that can be dialled; undefined, and the object refused, for anything else. */
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
    ? 'has a zone, which means nothing on another machine; give the address alone'
    : 'is not an IP address; write it as 10.0.0.7 or fd00::7'
}
