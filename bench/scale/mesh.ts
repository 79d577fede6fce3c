/** The mesh that bench/scale.ts publishes: which cluster has which service, and the endpoints of each. */
import type { ClusterService } from '../../proxy/model/service.ts'

export interface Mesh {
  readonly services: number
  readonly endpoints: number
  readonly clusters: number
  /** In how many clusters each service is: the local one, and others in turn. */
  readonly spread: number
}

export function nameOf(cluster: number): string {
  return `cluster-${cluster + 1}`
}

export function clustersOf(service: number, { clusters, spread }: Mesh): number[] {
  const others = Array.from({ length: Math.min(spread, clusters) - 1 }, (_, i) => {
    return 1 + ((service * (spread - 1) + i) % (clusters - 1))
  })
  return [0, ...others]
}

export function perCluster({ services, endpoints, spread, clusters }: Mesh): number {
  return Math.max(1, Math.round(endpoints / services / Math.min(spread, clusters)))
}

/** Addresses of endpoints that have changed. */
export const changedPrefix = '100.'

/** The endpoint with the number 0 has another address in every change, by its `mark`: from 100.64.0.0/10. */
export function addressOf(cluster: number, service: number, index: number, mesh: Mesh, mark?: number): string {
  if (mark !== undefined && index === 0) return text((100 << 24) + (64 << 16) + (mark % (1 << 22)))
  const place = clustersOf(service, mesh).indexOf(cluster)
  const n = (service * Math.min(mesh.spread, mesh.clusters) + place) * perCluster(mesh) + index
  return text((11 << 24) + n)
}

export function serviceOf(cluster: number, service: number, mesh: Mesh, mark?: number): ClusterService {
  const port = { name: 'http', protocol: 'TCP' as const, port: 80 }
  const ports = [{ ...port, port: 8080 }]
  return {
    cluster: nameOf(cluster),
    namespace: `ns-${service % 50}`,
    name: `service-${service}`,
    type: 'ClusterIP',
    headless: false,
    clusterIPs: [text((10 << 24) + (96 << 16) + service)],
    ports: [port],
    annotations: { 'service.cilium.io/global': 'true' },
    labels: {},
    publishNotReadyAddresses: false,
    internalTrafficPolicy: 'Cluster',
    endpoints: Array.from({ length: perCluster(mesh) }, (_, i) => ({
      ...{ address: addressOf(cluster, service, i, mesh, mark), ports, ready: true, serving: true, terminating: false },
      zone: `zone-${i % 3}`,
    })),
  }
}

function text(n: number): string {
  return [24, 16, 8, 0].map(shift => (n >>> shift) & 255).join('.')
}
