/** Certificate revocation lists (RFC 5280, 5), as authorities publish them. The X.509 library is optional and loaded when there is one. */
import type { X509Certificate } from 'node:crypto'
import { MeshError, messageOf } from '../../model/error.ts'
import { fault } from './fault.ts'
import { type Revocations, serialKey } from './revocations.ts'

interface RevocationList {
  readonly issuer: X509Certificate
  readonly serials: ReadonlySet<string>
}

export interface CertificateLists extends Revocations {
  /** When the first of them should have been replaced, in milliseconds since 1970. */
  readonly nextUpdate: number
}

const block = /(?<=-----BEGIN X509 CRL-----)[^-]+(?=-----END X509 CRL-----)/g

/**
 * Each list must be signed by one of `trusted`, and counts for the certificates of that issuer only. Rejects with `MeshError`
 * CERTIFICATE for anything else in the file, since a list that is left out would leave certificates in use.
 */
export async function readLists(
  text: string | undefined,
  file: string,
  trusted: readonly X509Certificate[],
): Promise<CertificateLists> {
  const lists: RevocationList[] = []
  let nextUpdate = Number.POSITIVE_INFINITY
  const found = text?.match(block) ?? []
  if (text !== undefined && text.trim() !== '' && found.length === 0)
    throw fault(file, 'has no revocation list; write lists in PEM (BEGIN X509 CRL)')
  for (const [i, base64] of found.entries()) {
    const { list, until } = await readList(base64, `${file}, list ${i + 1},`, trusted)
    lists.push(list)
    nextUpdate = Math.min(nextUpdate, until)
  }
  return {
    why(certificate) {
      const serial = serialKey(certificate.serialNumber)
      const list = lists.find(({ issuer, serials }) => serials.has(serial) && certificate.checkIssued(issuer))
      return list && `it is in a revocation list of its issuer in ${file}`
    },
    size: lists.reduce((sum, { serials }) => sum + serials.size, 0),
    nextUpdate,
  }
}

async function readList(base64: string, what: string, trusted: readonly X509Certificate[]) {
  try {
    // A dependency of the library needs it to be loaded first.
    await import('reflect-metadata')
    const x509 = await import('@peculiar/x509')
    const crl = new x509.X509Crl(Buffer.from(base64, 'base64'))
    for (const issuer of trusted) {
      const signer = new x509.X509Certificate(issuer.raw)
      if (signer.subject !== crl.issuer || !(await crl.verify({ publicKey: signer.publicKey }).catch(() => false)))
        continue
      const serials = new Set(crl.entries.map(({ serialNumber }) => serialKey(serialNumber)))
      return { list: { issuer, serials }, until: crl.nextUpdate?.getTime() ?? Number.POSITIVE_INFINITY }
    }
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND'
    if (missing) throw new MeshError('CERTIFICATE', `${what} needs the packages @peculiar/x509 and reflect-metadata`)
    throw fault(what, `cannot be read: ${messageOf(error)}`, error)
  }
  throw fault(what, 'is not signed by a root or intermediate that is trusted here')
}
