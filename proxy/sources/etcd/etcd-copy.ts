/** One cluster as a cache reads it: all that it has in etcd, as bytes (Cilium 2.6). What the bytes mean is for the cache's readers. */
import { prefixOf, type Resource } from '../../clients/clustermesh.ts'
import type { ClusterConfig } from '../../clients/etcd/cluster-config.ts'
import { type EtcdPlace, Follower, type FollowerParts } from '../../clients/etcd/follower.ts'
import type { MirrorListener } from '../../clients/etcd/mirror.ts'
import type { Described, Reading } from '../../clients/etcd/session.ts'
import type { MeshError } from '../../model/error.ts'

/** Where a copy goes. Records are named by what stands behind the prefix of their resource. */
export interface CopyTarget {
  /** Comes first. Throws when the cluster must not be copied from this store. */
  described(id: number, config: Uint8Array, store: string): void
  listed(resource: Resource, records: readonly (readonly [suffix: string, value: Uint8Array])[]): void
  /** Without a value the record is gone. */
  changed(resource: Resource, suffix: string, value: Uint8Array | undefined): void
  live(): void
  lost(error: MeshError): void
}

export interface EtcdCopy {
  start(): void
  close(): Promise<void>
}

export function createEtcdCopy(
  { cluster, ...place }: EtcdPlace & { readonly cluster: string },
  target: CopyTarget,
  parts: FollowerParts,
): EtcdCopy {
  return new Follower(cluster, place, parts, {
    open: ({ config, value, store }: Described) => {
      target.described(config.id, value, store)
      const [main, ...others] = resourcesOf(config)
      const reading = (resource: Resource): Reading => {
        const prefix = prefixOf(resource, cluster, config.cached)
        return { resource, listener: copying(resource, prefix, target, resource === main) }
      }
      return [reading(main), ...others.map(reading)]
    },
    lost: error => target.lost(error),
  })
}

/** What such a cluster writes, its services first. */
function resourcesOf({ slicesMode, serviceExports }: ClusterConfig): readonly [Resource, ...Resource[]] {
  const services: readonly [Resource, ...Resource[]] =
    slicesMode === ''
      ? ['services']
      : slicesMode === 'endpointslices-only'
        ? ['endpointslices']
        : ['services', 'endpointslices']
  return [
    ...services,
    ...(serviceExports === undefined ? [] : ['serviceexports' as const]),
    'nodes',
    'identities',
    'ip',
  ]
}

function copying(resource: Resource, prefix: string, target: CopyTarget, isMain: boolean): MirrorListener {
  return {
    listed: entries => {
      target.listed(
        resource,
        entries.map(({ key, value }) => [key.slice(prefix.length), value]),
      )
      if (isMain) target.live()
    },
    changed: events => {
      for (const { kept, entry } of events) {
        target.changed(resource, entry.key.slice(prefix.length), kept ? entry.value : undefined)
      }
    },
  }
}
