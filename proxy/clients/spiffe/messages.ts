/** The messages of the SPIFFE Workload API that are used (`workload.proto`), and lists of certificates in DER. */
import { bytes, type MessageOf, many, message, text } from '../etcd/protobuf.ts'

const svid = message({
  spiffeId: text(1),
  /** The certificate and its intermediates, one after the other in DER. */
  x509Svid: bytes(2),
  /** PKCS#8 in DER. */
  x509SvidKey: bytes(3),
  /** The roots of its trust domain, one after the other in DER. */
  bundle: bytes(4),
  hint: text(5),
})
const bundle = message({ trustDomain: text(1), roots: bytes(2) })

export const x509SvidRequest = message({})
export const x509SvidResponse = message({ svids: many(1, svid), federatedBundles: many(3, bundle) })
export const fetchX509Svid = '/SpiffeWorkloadAPI/FetchX509SVID'

export type X509SvidResponse = MessageOf<typeof x509SvidResponse>

/** The elements of a run of ASN.1 SEQUENCEs in DER; throws for anything else. */
export function sequencesIn(der: Uint8Array): Buffer[] {
  const all = Buffer.from(der.buffer, der.byteOffset, der.length)
  const found: Buffer[] = []
  for (let at = 0; at < all.length; ) {
    const first = all[at + 1] ?? 0
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f
    if (all[at] !== 0x30 || lengthBytes > 4 || at + 2 + lengthBytes > all.length) throw new Error('not a list in DER')
    const length = lengthBytes === 0 ? first : all.readUIntBE(at + 2, lengthBytes)
    const end = at + 2 + lengthBytes + length
    if (end > all.length) throw new Error('a list in DER is cut short')
    found.push(all.subarray(at, end))
    at = end
  }
  return found
}
