/** The list of revoked certificates: a text file with one on each line. */
import type { X509Certificate } from 'node:crypto'
import { parseSpiffeId } from '../../model/tunnel/identity.ts'
import { fault } from './fault.ts'

export interface Revocations {
  /** Why this certificate is revoked; undefined if it is not. */
  why(certificate: X509Certificate, id: string): string | undefined
  readonly size: number
}

/**
 * Each line is the SHA-256 fingerprint of a certificate, `serial:` and a serial number in hex, or a SPIFFE id for all certificates
 * of that id; what follows a `#` is a comment. Throws `MeshError` CERTIFICATE for anything else, since a line that is not understood
 * would leave a certificate in use.
 */
export function readRevocations(text: string | undefined, file: string): Revocations {
  const fingerprints = new Set<string>()
  const serials = new Set<string>()
  const ids = new Set<string>()
  for (const [i, written] of (text ?? '').split('\n').entries()) {
    const line = written.replace(/#.*/, '').trim()
    if (line === '') continue
    const fingerprint = line.replaceAll(':', '').toUpperCase()
    const serial = /^serial:\s*(?:0x)?([0-9a-f:]+)$/i.exec(line)?.[1]
    if (parseSpiffeId(line)) ids.add(line)
    else if (serial !== undefined) serials.add(serialKey(serial))
    else if (/^[0-9A-F]{64}$/.test(fingerprint)) fingerprints.add(fingerprint)
    else throw fault(`${file}:${i + 1}`, 'is neither a SHA-256 fingerprint, nor serial:HEX, nor a SPIFFE id')
  }
  return {
    why(certificate, id) {
      if (fingerprints.has(certificate.fingerprint256.replaceAll(':', ''))) return `its fingerprint is in ${file}`
      if (serials.has(serialKey(certificate.serialNumber))) return `its serial number is in ${file}`
      return ids.has(id) ? `its id is in ${file}` : undefined
    },
    size: fingerprints.size + serials.size + ids.size,
  }
}

/** Serial numbers are compared without colons, case and leading zeros. */
export function serialKey(hex: string): string {
  return hex
    .replaceAll(':', '')
    .toUpperCase()
    .replace(/^0+(?=.)/, '')
}
