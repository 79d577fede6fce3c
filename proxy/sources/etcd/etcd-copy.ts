/** One cluster's etcd records as raw bytes, for a KVStoreMesh cache (Cilium 2.6), which copies them without decoding. */
import { prefixOf, type Resource } from '../../clients/clustermesh.ts'
import type { ClusterConfig } from '../../clients/etcd/cluster-config.ts'
import { type EtcdLocation, Follower, type FollowerParts } from '../../clients/etcd/follower.ts'
import type { MirrorListener } from '../../clients/etcd/mirror.ts'
import type { ClusterDescription, StoreIdentity, Subscription } from '../../clients/etcd/session.ts'
import type { MeshError } from '../../model/error.ts'

/** Receives the copy. A record is named by the part of its key after the prefix of the resource. */
export interface CopyTarget {
  /** Called first. Throws when the cluster must not be copied from this store. */
  described(id: number, config: Uint8Array, store: StoreIdentity): void
  listed(resource: Resource, records: readonly (readonly [suffix: string, value: Uint8Array])[]): void
  /** Without a value, the record is gone. */
  changed(resource: Resource, suffix: string, value: Uint8Array | undefined): void
  live(): void
  lost(error: MeshError): void
}

export interface EtcdCopy {
  start(): void
  close(): Promise<void>
}

export function createEtcdCopy(
  { cluster, ...location }: EtcdLocation & { readonly cluster: string },
  target: CopyTarget,
  parts: FollowerParts,
): EtcdCopy {
  const copied = new Set<Resource>()
  return new Follower(cluster, location, parts, {
    open: ({ config, value, store }: ClusterDescription) => {
      target.described(config.id, value, store)
      const [main, ...others] = resourcesOf(config)
      /** What the cluster does not write any more is removed once what it writes instead is complete. */
      const complete = (): void => {
        for (const resource of copied) if (resource !== main && !others.includes(resource)) target.listed(resource, [])
        for (const resource of [main, ...others]) copied.add(resource)
        target.live()
      }
      const subscribe = (resource: Resource): Subscription => {
        const prefix = prefixOf(resource, cluster, config.cached)
        return { resource, listener: copying(resource, prefix, target, resource === main ? complete : () => {}) }
      }
      return [subscribe(main), ...others.map(subscribe)]
    },
    lost: error => target.lost(error),
  })
}

/** The resources that such a cluster writes, services first. */
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

function copying(resource: Resource, prefix: string, target: CopyTarget, complete: () => void): MirrorListener {
  return {
    listed: entries => {
      target.listed(
        resource,
        entries.map(({ key, value }) => [key.slice(prefix.length), value]),
      )
      complete()
    },
    changed: events => {
      for (const { kept, entry } of events) {
        target.changed(resource, entry.key.slice(prefix.length), kept ? entry.value : undefined)
      }
    },
  }
}
