/** Addresses in Kubernetes objects. */
import type { Path } from '../../config/fields.ts'
import { canonicalAddress } from '../../model/address.ts'
import { shown } from '../../model/text/spelling.ts'
import type { Faults } from './faults.ts'

/** The canonical form of an address. For anything else: undefined, and the object is refused. Ranges are checked in `admission`. */
export function readAddress(text: string, path: Path, faults: Faults): string | undefined {
  const address = canonicalAddress(text)
  if (address === undefined) faults.refuse(path, `${shown(text)} ${notAnAddress(text)}`)
  return address
}

function notAnAddress(text: string): string {
  return text.includes('%')
    ? 'has a zone, which is only valid on one machine; give the address without it'
    : 'is not an IP address; write it as 10.0.0.7 or fd00::7'
}
