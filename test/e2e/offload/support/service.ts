/** Services of a stage, of any address family, with lists of backends that have weights. */
import { renameSync, writeFileSync } from 'node:fs'
import { stringify } from 'yaml'

export interface Declared {
  readonly ip: string
  readonly port: number
  readonly protocol: string
  /** Addresses, each with its weight. */
  readonly backends: Readonly<Record<string, number>>
  readonly spec?: object
}

/** Writes the manifest of a service and of a slice for each backend. */
export function declare(folder: string, name: string, { ip, port, protocol, backends, spec = {} }: Declared): void {
  const metadata = { name, namespace: 'default', annotations: { 'service.cilium.io/global': 'true' } }
  const ports = [{ name: 'main', port, targetPort: 8000, protocol }]
  const objects = [
    { apiVersion: 'v1', kind: 'Service', metadata, spec: { clusterIP: ip, ports, ...spec } },
    ...Object.entries(backends).map(([address, weight], i) => ({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: `${name}-${i}`,
        namespace: 'default',
        labels: { 'kubernetes.io/service-name': name },
        annotations: { 'service.cilium.io/weight': String(weight) },
      },
      addressType: ip.includes(':') ? 'IPv6' : 'IPv4',
      ports: [{ name: 'main', port: 8000, protocol }],
      endpoints: [{ addresses: [address], conditions: { ready: true } }],
    })),
  ]
  const path = `${folder}/${name}.yaml`
  writeFileSync(`${path}.new`, objects.map(object => stringify(object)).join('---\n'))
  renameSync(`${path}.new`, path)
}
