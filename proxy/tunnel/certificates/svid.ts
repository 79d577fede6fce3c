/** What a SPIFFE Workload API gives, as the material of one end: its own certificate, and the roots of each trust domain. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { sequencesIn, type X509SvidResponse } from '../../clients/spiffe/messages.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import { parseSpiffeId } from '../../model/tunnel/identity.ts'
import { type Material, spiffeIdOf } from './material.ts'
import type { Revocations } from './revocations.ts'

/** SPIRE's certificates are short-lived instead. */
const noRevocations: Revocations = { why: () => undefined, size: 0 }

/**
 * `wanted`: the id to take where there are several; by default the first, as the API says. Throws `MeshError` CERTIFICATE that names what
 * is wrong.
 */
export function materialOf({ svids, federatedBundles }: X509SvidResponse, wanted: string | undefined): Material {
  const svid = wanted === undefined ? svids[0] : svids.find(({ spiffeId }) => spiffeId === wanted)
  if (!svid) {
    const given = svids.map(({ spiffeId }) => spiffeId).join(', ')
    throw fault(`the Workload API has no identity ${wanted ?? ''}`.trimEnd() + (given ? `, only ${given}` : ''))
  }
  try {
    const chain = certificatesIn(svid.x509Svid)
    const [leaf] = chain
    if (!leaf) throw new Error('it has no certificate')
    const id = spiffeIdOf(leaf)
    if ('why' in id) throw new Error(`its certificate ${id.why}`)
    if (id.id !== svid.spiffeId) throw new Error(`its certificate is that of ${id.id}`)
    const key = createPrivateKey({ key: Buffer.from(svid.x509SvidKey), format: 'der', type: 'pkcs8' })
    if (!leaf.checkPrivateKey(key)) throw new Error('its key is not that of its certificate')
    const domains = new Map<string, readonly X509Certificate[]>()
    for (const { trustDomain, roots } of federatedBundles) domains.set(nameOf(trustDomain), certificatesIn(roots))
    domains.set(id.trustDomain, certificatesIn(svid.bundle))
    return Object.freeze({
      cert: chain.map(String).join(''),
      key: String(key.export({ format: 'pem', type: 'pkcs8' })),
      leaf,
      id,
      roots: new Map(),
      sharedRoots: [...domains.values()].flat(),
      domains,
      revocations: noRevocations,
      listsUntil: Number.POSITIVE_INFINITY,
    })
  } catch (error) {
    throw fault(
      `the Workload API gives an identity ${svid.spiffeId.slice(0, 200)} that cannot be used: ${messageOf(error)}`,
    )
  }
}

function certificatesIn(der: Uint8Array): X509Certificate[] {
  return sequencesIn(der).map(one => new X509Certificate(one))
}

/** SPIRE writes the trust domain as an id: `spiffe://other.example`. */
function nameOf(trustDomain: string): string {
  return parseSpiffeId(`${trustDomain}/x`)?.trustDomain ?? trustDomain.replace(/^spiffe:\/\//, '')
}

function fault(message: string): MeshError {
  return new MeshError('CERTIFICATE', message)
}
