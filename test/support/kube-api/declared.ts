/** Kubernetes objects of the services that the source conformance suite declares. */
import type { Declared } from '../../conformance/source.ts'
import type { KubeObject } from './types.ts'

/** The objects of a service as a cluster has them. */
export function serviceOf({ namespace, name, clusterIP }: Declared): KubeObject {
  const ports = [{ name: 'http', port: 80, protocol: 'TCP', targetPort: 8080 }]
  return { apiVersion: 'v1', kind: 'Service', metadata: { namespace, name }, spec: { clusterIP, ports } }
}

export function sliceOf({ namespace, name, addresses }: Declared): KubeObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace, name: `${name}-x7k2p`, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    endpoints: addresses.map(address => ({ addresses: [address], conditions: { ready: true }, nodeName: 'n1' })),
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
  }
}

export function namespaceOf(name: string): KubeObject {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name } }
}
