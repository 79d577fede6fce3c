/** Names of the Multi-Cluster Services API (KEP-1645), and of its derived Services. */
import { createHash } from 'node:crypto'

/** On a ServiceImport: the name of the derived Service, whose address is the clusterset IP. */
export const derivedServiceAnnotation = 'multicluster.kubernetes.io/derived-service'

const digits = '0123456789abcdefghijklmnopqrstuv'
const hashLength = 10

/**
 * The name of the Service that Cilium's operator derives for an import: `derived-` and the first ten characters of SHA-256
 * over `namespace/name` in base 32 (RFC 4648 section 7, lower case), so that it has the same name in all clusters.
 */
export function derivedServiceName(namespace: string, name: string): string {
  const bytes = createHash('sha256').update(`${namespace}/${name}`).digest()
  const bits = [...bytes.subarray(0, 7)].map(byte => byte.toString(2).padStart(8, '0')).join('')
  const hash = Array.from({ length: hashLength }, (_, i) => digits[Number.parseInt(bits.slice(5 * i, 5 * i + 5), 2)])
  return `derived-${hash.join('')}`
}
