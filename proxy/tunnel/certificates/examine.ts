/**
 * Decides whether the certificate at the other end of a TLS connection is accepted. OpenSSL has verified signatures, dates and
 * purposes against all roots; here the certificate must also lead to a root of the very cluster that its id stands for.
 */
import type { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import type { PeerIdentity, SpiffeId } from '../../model/tunnel/identity.ts'
import { hasOneSet, type Material, rootsOf, spiffeIdOf } from './material.ts'

/** What the other end has shown. */
export interface Shown {
  readonly certificate: X509Certificate
  /** The certificates that may lead from it to a root. */
  readonly issuers: readonly X509Certificate[]
}

export type Examined =
  | { readonly identity: PeerIdentity; readonly shown: Shown; readonly why?: never }
  | { readonly why: string; readonly identity?: never }

/** What an id stands for, or why it is not accepted. */
export type Expected = (id: SpiffeId) => PeerIdentity | { readonly why: string }

/** What a TLS connection knows of its other end. */
export interface Presented {
  readonly certificate: X509Certificate | undefined
  /** What came after it, and may lead from it to a root. */
  readonly issuers: readonly X509Certificate[]
  /** OpenSSL's code of the verification, such as `CERT_HAS_EXPIRED`; undefined when it has succeeded. */
  readonly error: string | undefined
  /** The session is resumed. */
  readonly isResumed: boolean
}

export function presentedBy(socket: TLSSocket): Presented {
  const certificate = socket.getPeerX509Certificate()
  return {
    certificate,
    issuers: certificate ? issuersOf(certificate) : [],
    error: socket.authorizationError ? String(socket.authorizationError) : undefined,
    isResumed: socket.isSessionReused(),
  }
}

/** The name of a code of OpenSSL's verification (x509_vfy.h), as node:tls has it. */
export function verificationCode(code: number): string {
  return codes[code] ?? `code ${code}`
}

const codes: Readonly<Record<number, string>> = {
  2: 'UNABLE_TO_GET_ISSUER_CERT',
  7: 'CERT_SIGNATURE_FAILURE',
  9: 'CERT_NOT_YET_VALID',
  10: 'CERT_HAS_EXPIRED',
  18: 'DEPTH_ZERO_SELF_SIGNED_CERT',
  19: 'SELF_SIGNED_CERT_IN_CHAIN',
  20: 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  21: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  22: 'CERT_CHAIN_TOO_LONG',
  24: 'INVALID_CA',
  25: 'PATH_LENGTH_EXCEEDED',
  26: 'INVALID_PURPOSE',
  27: 'CERT_UNTRUSTED',
  28: 'CERT_REJECTED',
  79: 'INVALID_CA',
}

/** `why` names the certificate and what is wrong with it. `now` is wall-clock time. */
export function examine(presented: Presented, material: Material, expected: Expected, now: number): Examined {
  const { certificate, issuers, error, isResumed } = presented
  if (!certificate) return { why: 'it presents no certificate' }
  const refuse = (why: string) => ({ why: `its certificate (${describe(certificate)}) is refused: ${why}` })
  if (isResumed) return refuse('the session is resumed, and its certificate was not shown again')
  const dates = whyNotNow(certificate, now)
  if (dates !== undefined) return refuse(dates)
  if (error !== undefined) return refuse(unverified(error))
  // With one set of roots for all clusters, OpenSSL has found the one that it leads to.
  const isShared = hasOneSet(material)
  return examineAgain({ certificate, issuers }, material, expected, now, isShared)
}

/**
 * The same for a certificate that was accepted once, after the roots or the revocations have changed. `isRooted`: it is known to lead
 * to a root that its cluster has.
 */
export function examineAgain(
  shown: Shown,
  material: Material,
  expected: Expected,
  now: number,
  isRooted: boolean,
): Examined {
  const { certificate } = shown
  const refuse = (why: string) => ({ why: `its certificate (${describe(certificate)}) is refused: ${why}` })
  const dates = whyNotNow(certificate, now)
  if (dates !== undefined) return refuse(dates)
  const id = spiffeIdOf(certificate)
  if ('why' in id) return refuse(`it ${id.why}`)
  const identity = expected(id)
  if ('why' in identity) return refuse(identity.why)
  if (material.domains && !material.domains.has(identity.trustDomain))
    return refuse(`the Workload API gives no roots of trust domain ${identity.trustDomain}; federate with it`)
  if (!isRooted && !leadsTo(shown, rootsOf(material, identity.cluster, identity.trustDomain), now)) {
    const whose = material.domains ? `trust domain ${identity.trustDomain}` : `cluster ${identity.cluster}`
    return refuse(`it is not signed by a root of ${whose}`)
  }
  const revoked = revocationOf(shown, id.id, material)
  return revoked === undefined ? { identity, shown } : refuse(`it is revoked: ${revoked}`)
}

/** `spiffe://…, serial 1F, of CN=…, SHA-256 AB:CD…` */
export function describe(certificate: X509Certificate): string {
  const id = spiffeIdOf(certificate)
  const name = 'why' in id ? certificate.subject.replaceAll('\n', ', ') || 'without a name' : id.id
  const issuer = certificate.issuer.replaceAll('\n', ', ')
  return `${shortened(name)}, serial ${certificate.serialNumber}, issued by ${shortened(issuer)}`
}

const maxText = 200

/** What comes from the other side ends in a log line. */
function shortened(text: string): string {
  const plain = text.replace(/[^\x20-\x7e]/g, '?')
  return plain.length > maxText ? `${plain.slice(0, maxText)}…` : plain
}

function whyNotNow(certificate: X509Certificate, now: number): string | undefined {
  const clock = `the clock here says ${new Date(now).toISOString()}`
  if (now > certificate.validToDate.getTime()) return `it expired on ${certificate.validTo}; ${clock}`
  return now < certificate.validFromDate.getTime()
    ? `it is not valid before ${certificate.validFrom}; ${clock}`
    : undefined
}

/** What a code of OpenSSL's verification means. */
function unverified(code: string): string {
  const unknown = /^(SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_GET_ISSUER|UNABLE_TO_VERIFY_LEAF)/.test(code)
  if (unknown) return `no root that is trusted here has signed it (${code})`
  if (code === 'CERT_HAS_EXPIRED') return 'one of its intermediates has expired (CERT_HAS_EXPIRED)'
  if (code === 'INVALID_PURPOSE') return 'it may not be used for this side of TLS (INVALID_PURPOSE)'
  return `its verification failed (${code})`
}

/** No chain is longer. */
const maxDepth = 8

/**
 * Follows signatures from the certificate over intermediates, which came with it or are among `trusted`, to a root among `trusted`.
 * Names alone would not do: a cluster may call its own root as another's is called.
 */
function leadsTo({ certificate, issuers }: Shown, trusted: readonly X509Certificate[], now: number): boolean {
  const signs = (issuer: X509Certificate, child: X509Certificate) =>
    issuer.ca && child.checkIssued(issuer) && child.verify(issuer.publicKey) && whyNotNow(issuer, now) === undefined
  let current = certificate
  for (let depth = 0; depth < maxDepth; depth++) {
    const child = current
    if (trusted.some(root => isRoot(root) && signs(root, child))) return true
    const next = [...trusted, ...issuers].find(issuer => !isRoot(issuer) && issuer !== child && signs(issuer, child))
    if (!next) return false
    current = next
  }
  return false
}

function isRoot(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate)
}

/** What was sent after the certificate, as far as Node shows it: a server does not see it, up to Node 24 at least. */
function issuersOf(certificate: X509Certificate): X509Certificate[] {
  const found: X509Certificate[] = []
  for (let next = certificate.issuerCertificate; next && found.length < maxDepth; next = next.issuerCertificate) {
    found.push(next)
  }
  return found
}

function revocationOf({ certificate, issuers }: Shown, id: string, { revocations }: Material): string | undefined {
  if (revocations.size === 0) return undefined
  const own = revocations.why(certificate, id)
  if (own !== undefined) return own
  const issuer = issuers.find(one => revocations.why(one, '') !== undefined)
  return issuer && `its issuer ${shortened(issuer.subject)}: ${revocations.why(issuer, '')}`
}
