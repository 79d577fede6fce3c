/**
 * The Multi-Cluster Services API in the merge: what takes part in a service that clusters export or import, and what stands
 * in for a Service that the local cluster does not have.
 */
import { isDeepStrictEqual } from 'node:util'
import { agree, isExporter } from '../model/clusterset.ts'
import type { ClusterService, Clusterset, ServiceKey, Settings } from '../model/service.ts'
import type { Member } from './merge.ts'
import { decodeSettings } from './settings.ts'

/** A service with those who take part in it, ready to be merged. */
export interface Gathered {
  readonly members: readonly Member[]
  readonly settings: Settings
  readonly clusterset: Clusterset | undefined
}

export interface Declared {
  /** What every cluster declares under the name and may be counted, the local one first. */
  readonly members: readonly Member[]
  /** Of the local declaration; undefined without one. */
  readonly settings: Settings | undefined
  /** What the clusters declare under the name that a derived Service was made for; empty for all others. */
  readonly origin: readonly Member[]
  readonly localCluster: string
  /** Whether the local cluster has the namespace: an export reaches only clusters that do (KEP-1645). */
  readonly hasNamespace: boolean
  readonly clusterNames: readonly string[]
}

/** Without a local Service nothing takes part. */
const remoteOnly: Settings = { global: false, shared: false, affinity: 'none', clusterOrder: [] }

interface Made {
  readonly from: readonly unknown[]
  readonly service: ClusterService
}

/**
 * Gathers, and remembers what it has made itself: a service that nothing has happened to stays the same value, so that
 * nobody needs to hear of it.
 */
export class Gatherer {
  #made = new Map<ServiceKey, Made>()
  #agreed = new Map<ServiceKey, Clusterset>()

  gather(key: ServiceKey, declared: Declared): Gathered {
    const { members } = declared
    const clusterset = this.#agree(key, members)
    const local = members.find(member => member.local)
    if (local?.service.derivedFrom !== undefined) return this.#derived(key, local, declared)
    if (local && !(local.service.imported && clusterset)) {
      this.#made.delete(key)
      return { members, settings: declared.settings ?? remoteOnly, clusterset }
    }
    if (!clusterset || !declared.hasNamespace) {
      this.#made.delete(key)
      return { members, settings: remoteOnly, clusterset }
    }
    const service = this.#remember(key, [local?.service, clusterset], () =>
      standIn(key, declared.localCluster, local?.service, clusterset),
    )
    const others = members.filter(member => !member.local)
    const { settings } = decodeSettings(service, declared.clusterNames)
    return { members: [{ service, local: true, exported: false }, ...others], settings, clusterset }
  }

  forget(key: ServiceKey): void {
    this.#made.delete(key)
    this.#agreed.delete(key)
  }

  #agree(key: ServiceKey, members: readonly Member[]): Clusterset | undefined {
    const exporters = members.filter(({ exported }) => exported).map(({ service }) => service)
    const after = agree(exporters.filter(isExporter))
    const before = this.#agreed.get(key)
    if (before && isDeepStrictEqual(before, after)) return before
    if (after) this.#agreed.set(key, after)
    else this.#agreed.delete(key)
    return after
  }

  /**
   * A derived Service leads to the clusters that export its origin. Where a cluster only has a derived Service of that name,
   * as those of Cilium do for each other, it takes part with that.
   */
  #derived(key: ServiceKey, local: Member, { members, origin, settings }: Declared): Gathered {
    const exporting = origin.filter(({ exported, service }) => exported && isExporter(service))
    const own = exporting.find(member => member.local)?.service
    const lent = own && local.service.endpoints.length === 0 ? own : undefined
    const service = lent
      ? this.#remember(key, [local.service, lent], () => ({ ...local.service, endpoints: lent.endpoints }))
      : local.service
    if (!lent) this.#made.delete(key)
    const others = members.filter(
      member => !member.local && !exporting.some(({ service: { cluster } }) => cluster === member.service.cluster),
    )
    const remote = [...exporting.filter(member => !member.local), ...others]
    return { members: [{ ...local, service }, ...remote], settings: settings ?? remoteOnly, clusterset: undefined }
  }

  #remember(key: ServiceKey, from: readonly unknown[], make: () => ClusterService): ClusterService {
    const known = this.#made.get(key)
    if (known?.from.every((part, i) => part === from[i])) return known.service
    const service = make()
    this.#made.set(key, { from, service })
    return service
  }
}

/** With the address of the import, where there is one, and all else as the exporting clusters agreed. */
function standIn(
  key: ServiceKey,
  cluster: string,
  imported: ClusterService | undefined,
  clusterset: Clusterset,
): ClusterService {
  const [namespace = '', name = ''] = key.split('/')
  const { headless, ports, annotations, labels, sessionAffinity, internalTrafficPolicy, trafficDistribution } =
    clusterset
  return {
    cluster,
    namespace,
    name,
    type: 'ClusterIP',
    imported: true,
    headless,
    clusterIPs: headless ? [] : (imported?.clusterIPs ?? []),
    ports,
    annotations: { ...annotations, 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'false' },
    labels,
    publishNotReadyAddresses: false,
    ...(sessionAffinity && { sessionAffinity }),
    internalTrafficPolicy,
    ...(trafficDistribution !== undefined && { trafficDistribution }),
    endpoints: [],
    ...(imported?.derived !== undefined && { derived: imported.derived }),
    ...(imported?.origin !== undefined && { origin: imported.origin }),
  }
}
