/** `cilium/cluster-config/NAME`: what a cluster says of itself (Cilium 1.20). */
import * as v from 'valibot'
import type { SlicesMode } from '../clustermesh.ts'
import { clusterId, parseJson } from './record.ts'

/** What a cluster says of itself, with Cilium's defaults for what it leaves out. */
export interface ClusterConfig {
  readonly id: number
  readonly syncedCanaries: boolean
  /** Whether the store is a KVStoreMesh cache, where everything stands under `cilium/cache`. */
  readonly cached: boolean
  readonly maxConnectedClusters: number
  /** Undefined where the cluster knows nothing of service exports. */
  readonly serviceExports: boolean | undefined
  readonly slicesMode: SlicesMode
}

const clusterConfigRecord = v.object({
  id: clusterId,
  capabilities: v.nullish(
    v.object({
      syncedCanaries: v.optional(v.boolean(), false),
      cached: v.optional(v.boolean(), false),
      maxConnectedClusters: v.optional(v.picklist([0, 255, 511]), 0),
      serviceExportsEnabled: v.nullish(v.boolean()),
      endpointSlicesExportMode: v.optional(
        v.picklist(['', 'services-and-endpointslices', 'endpointslices-only'] satisfies SlicesMode[]),
        '',
      ),
    }),
    {},
  ),
})

export function decodeClusterConfig(value: Uint8Array): ClusterConfig {
  const { id, capabilities } = parseJson(clusterConfigRecord, value)
  const { syncedCanaries, cached, maxConnectedClusters, serviceExportsEnabled, endpointSlicesExportMode } = capabilities
  return {
    id,
    syncedCanaries,
    cached,
    maxConnectedClusters: maxConnectedClusters || 255,
    serviceExports: serviceExportsEnabled ?? undefined,
    slicesMode: endpointSlicesExportMode,
  }
}
