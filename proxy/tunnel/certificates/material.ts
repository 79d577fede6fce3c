/** Reads a folder of certificates: the own one with its key, the roots that are trusted, and what is revoked. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { messageOf } from '../../model/error.ts'
import { readRegularFile } from '../../model/text/regular-file.ts'
import { parseSpiffeId, type SpiffeId } from '../../model/tunnel/identity.ts'
import { readLists } from './crl.ts'
import { fault } from './fault.ts'
import { type Revocations, readRevocations } from './revocations.ts'

/** All that one end of a tunnel needs. Frozen; replaced as a whole when a file changes. */
export interface Material {
  /** PEM: the own certificate, then its intermediates. */
  readonly cert: string
  /** PEM. */
  readonly key: string
  readonly leaf: X509Certificate
  readonly id: SpiffeId
  /** By cluster: roots of its own. */
  readonly roots: ReadonlyMap<string, readonly X509Certificate[]>
  /** Those of all other clusters. */
  readonly sharedRoots: readonly X509Certificate[]
  /** In the place of both: the roots of each trust domain, where a Workload API gives them. */
  readonly domains?: ReadonlyMap<string, readonly X509Certificate[]>
  readonly revocations: Revocations
  /** When a revocation list should have been replaced, in milliseconds since 1970. */
  readonly listsUntil: number
}

export const fileNames = {
  cert: 'tls.crt',
  key: 'tls.key',
  roots: 'ca.crt',
  revoked: 'revoked',
  lists: 'crl.pem',
} as const

/** The file with the roots of one cluster, instead of the shared ones. */
export function rootsFile(folder: string, cluster: string): string {
  return join(folder, 'roots', `${cluster}.crt`)
}

/** The files that are read, whether or not they exist. */
export function filesOf(folder: string, clusters: readonly string[]): string[] {
  return [
    ...Object.values(fileNames).map(name => join(folder, name)),
    ...clusters.map(cluster => rootsFile(folder, cluster)),
  ]
}

/** Rejects with `MeshError` CERTIFICATE that names the file, what is wrong with it and the remedy. */
export async function readMaterial(folder: string, clusters: readonly string[]): Promise<Material> {
  const at = (name: string) => join(folder, name)
  const [cert, key, sharedText] = await Promise.all([
    required(at(fileNames.cert)),
    required(at(fileNames.key)),
    required(at(fileNames.roots)),
  ])
  const [leaf] = certificatesIn(cert, at(fileNames.cert))
  if (!leaf) throw fault(at(fileNames.cert), 'has no certificate; write the certificate and its intermediates in PEM')
  if (!fits(leaf, key)) {
    throw fault(at(fileNames.key), `is not the key of ${fileNames.cert}; replace both files together`)
  }
  const id = spiffeIdOf(leaf)
  if ('why' in id)
    throw fault(at(fileNames.cert), `${id.why}; issue one with spiffe://TRUST_DOMAIN/ns/CLUSTER/sa/gateway`)
  const sharedRoots = certificatesIn(sharedText, at(fileNames.roots))
  const roots = new Map<string, readonly X509Certificate[]>()
  for (const cluster of clusters) {
    const file = rootsFile(folder, cluster)
    const text = await optional(file)
    if (text !== undefined) roots.set(cluster, certificatesIn(text, file))
  }
  const listed = readRevocations(await optional(at(fileNames.revoked)), at(fileNames.revoked))
  const trusted = [...sharedRoots, ...[...roots.values()].flat()]
  const lists = await readLists(await optional(at(fileNames.lists)), at(fileNames.lists), trusted)
  const revocations: Revocations = {
    why: (certificate, id) => listed.why(certificate, id) ?? lists.why(certificate, id),
    size: listed.size + lists.size,
  }
  return Object.freeze({ cert, key, leaf, id, roots, sharedRoots, revocations, listsUntil: lists.nextUpdate })
}

/** The roots that a certificate of this cluster, of this trust domain, must lead to. */
export function rootsOf(material: Material, cluster: string, trustDomain: string): readonly X509Certificate[] {
  const { roots, sharedRoots, domains } = material
  return domains ? (domains.get(trustDomain) ?? []) : (roots.get(cluster) ?? sharedRoots)
}

/** Whether all certificates are to lead to the same roots. */
export function hasOneSet({ roots, domains }: Material): boolean {
  return domains ? domains.size === 1 : roots.size === 0
}

/** Whether every root that a cluster had is still one of it. */
export function keepsRoots(before: Material, after: Material, cluster: string, trustDomain: string): boolean {
  const kept = new Set(rootsOf(after, cluster, trustDomain).map(({ fingerprint256 }) => fingerprint256))
  return rootsOf(before, cluster, trustDomain).every(({ fingerprint256 }) => kept.has(fingerprint256))
}

/** PEM of the roots, for OpenSSL. */
export function pemOf(roots: Iterable<X509Certificate>): string[] {
  return [...new Set([...roots].map(root => root.toString()))]
}

/** All roots that are trusted for anyone. */
export function allRoots({ roots, sharedRoots }: Material): X509Certificate[] {
  return [...sharedRoots, ...[...roots.values()].flat()]
}

/** The SPIFFE id of a certificate: exactly one URI, as X509-SVID 2 demands. */
export function spiffeIdOf(certificate: X509Certificate): SpiffeId | { readonly why: string } {
  const uris = urisOf(certificate.subjectAltName ?? '')
  if (uris.length !== 1) return { why: uris.length === 0 ? 'has no SPIFFE id' : `has ${uris.length} URIs, and not one` }
  return parseSpiffeId(uris[0] ?? '') ?? { why: `has a URI that is not a SPIFFE id: ${uris[0]?.slice(0, 200)}` }
}

/** Node quotes a value that contains a comma or a quote, so that no value can look like another entry. */
function urisOf(names: string): string[] {
  const entries = names.matchAll(/(?:^|, )([A-Za-z][A-Za-z0-9 ]*):("(?:[^"\\]|\\.)*"|[^,"]*)/g)
  return [...entries].flatMap(([, type, value]) => (type === 'URI' && value !== undefined ? [value] : []))
}

function fits(leaf: X509Certificate, key: string): boolean {
  try {
    return leaf.checkPrivateKey(createPrivateKey(key))
  } catch {
    return false
  }
}

const pemBlock = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

function certificatesIn(text: string, file: string): X509Certificate[] {
  return [...text.matchAll(pemBlock)].map(([pem], i) => {
    try {
      return new X509Certificate(pem)
    } catch (error) {
      throw fault(file, `certificate ${i + 1} cannot be read: ${messageOf(error)}`, error)
    }
  })
}

const maxBytes = 1 << 20

async function required(file: string): Promise<string> {
  try {
    return (await readRegularFile(file, maxBytes)).toString('utf8')
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    throw fault(
      file,
      missing ? 'does not exist; `starlane mesh` makes one' : `cannot be read: ${messageOf(error)}`,
      error,
    )
  }
}

async function optional(file: string): Promise<string | undefined> {
  try {
    return (await readRegularFile(file, maxBytes)).toString('utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw fault(file, `cannot be read: ${messageOf(error)}`, error)
  }
}
