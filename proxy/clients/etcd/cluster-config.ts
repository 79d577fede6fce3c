/** `cilium/cluster-config/NAME`: how a cluster describes itself (Cilium 1.20). */
import * as v from 'valibot'
import type { SlicesMode } from '../clustermesh.ts'
import { clusterId, parseJson } from './record.ts'

/** With Cilium's defaults for absent fields. */
export interface ClusterConfig {
  readonly id: number
  readonly syncedCanaries: boolean
  /** Whether the store is a KVStoreMesh cache, with all keys under `cilium/cache`. */
  readonly cached: boolean
  readonly maxConnectedClusters: number
  /** Undefined where the cluster does not support ServiceExports. */
  readonly serviceExports: boolean | undefined
  readonly slicesMode: SlicesMode
  /** Where Starlane says that its gateways are: `gw.example:15008`. Cilium ignores the field. */
  readonly gateways: readonly string[]
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
  gateways: v.fallback(v.array(v.string()), []),
})

export function decodeClusterConfig(value: Uint8Array): ClusterConfig {
  const { id, capabilities, gateways } = parseJson(clusterConfigRecord, value)
  const { syncedCanaries, cached, maxConnectedClusters, serviceExportsEnabled, endpointSlicesExportMode } = capabilities
  return {
    id,
    syncedCanaries,
    cached,
    maxConnectedClusters: maxConnectedClusters || 255,
    serviceExports: serviceExportsEnabled ?? undefined,
    slicesMode: endpointSlicesExportMode,
    gateways,
  }
}
