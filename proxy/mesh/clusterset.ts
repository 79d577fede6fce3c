/**
 * The Multi-Cluster Services API (KEP-1645) in the merge: which services take part in one that clusters export or import, and
 * the imported service that replaces a missing local Service.
 */
import { isDeepStrictEqual } from 'node:util'
import { agree, isExporter, type RankOf } from '../model/clusterset.ts'
import type { ClusterService, Clusterset, ServiceKey, Settings } from '../model/service.ts'
import type { MemberService } from './merge.ts'
import { decodeSettings } from './settings.ts'

/** What `merge` needs for one service name. */
export interface MergeInput {
  readonly members: readonly MemberService[]
  readonly settings: Settings
  readonly clusterset: Clusterset | undefined
}

export interface Declarations {
  /** The local service of the name, then the exported ones of other clusters. */
  readonly members: readonly MemberService[]
  /** Of the local service; undefined without one. */
  readonly settings: Settings | undefined
  /** For a derived Service, the members of the service it was derived from; empty for all others. */
  readonly origin: readonly MemberService[]
  readonly localCluster: string
  /** Whether the local cluster has the namespace: exports reach only clusters that do (KEP-1645). */
  readonly hasNamespace: boolean
  readonly clusterNames: readonly string[]
  /** Which of several exports decides. */
  readonly rankOf: RankOf
}

/** The settings when there is no local Service: no cluster takes part. */
const remoteOnly: Settings = { global: false, shared: false, affinity: 'none', clusterOrder: [] }

interface CachedService {
  readonly from: readonly unknown[]
  readonly service: ClusterService
}

/** Keeps the services it makes by identity: as long as their inputs are the same, `resolve` returns the same value. */
export class ClustersetResolver {
  #cache = new Map<ServiceKey, CachedService>()
  #clustersets = new Map<ServiceKey, Clusterset>()

  resolve(key: ServiceKey, declared: Declarations): MergeInput {
    const { members } = declared
    const clusterset = this.#agreed(key, members, declared.rankOf)
    const local = members.find(member => member.local)
    if (local?.service.derivedFrom !== undefined) return this.#derived(key, local, declared)
    if (local && !(local.service.imported && clusterset)) {
      this.#cache.delete(key)
      return { members, settings: declared.settings ?? remoteOnly, clusterset }
    }
    if (!clusterset || !declared.hasNamespace) {
      this.#cache.delete(key)
      return { members, settings: remoteOnly, clusterset }
    }
    const service = this.#cached(key, [local?.service, clusterset], () =>
      importedService(key, declared.localCluster, local?.service, clusterset),
    )
    const others = members.filter(member => !member.local)
    const { settings } = decodeSettings(service, declared.clusterNames)
    return { members: [{ service, local: true, exported: false }, ...others], settings, clusterset }
  }

  forget(key: ServiceKey): void {
    this.#cache.delete(key)
    this.#clustersets.delete(key)
  }

  #agreed(key: ServiceKey, members: readonly MemberService[], rankOf: RankOf): Clusterset | undefined {
    const exporters = members.filter(({ exported }) => exported).map(({ service }) => service)
    const after = agree(exporters.filter(isExporter), rankOf)
    const before = this.#clustersets.get(key)
    if (before && isDeepStrictEqual(before, after)) return before
    if (after) this.#clustersets.set(key, after)
    else this.#clustersets.delete(key)
    return after
  }

  /**
   * A derived Service leads to the clusters that export its origin. A cluster that does not, but has a derived Service of the
   * same name (as Cilium clusters do for each other), takes part with that one.
   */
  #derived(key: ServiceKey, local: MemberService, { members, origin, settings }: Declarations): MergeInput {
    const exporting = origin.filter(({ exported, service }) => exported && isExporter(service))
    const own = exporting.find(member => member.local)?.service
    const lent = own && local.service.endpoints.length === 0 ? own : undefined
    const service = lent
      ? this.#cached(key, [local.service, lent], () => ({ ...local.service, endpoints: lent.endpoints }))
      : local.service
    if (!lent) this.#cache.delete(key)
    const others = members.filter(
      member => !member.local && !exporting.some(({ service: { cluster } }) => cluster === member.service.cluster),
    )
    const remote = [...exporting.filter(member => !member.local), ...others]
    return { members: [{ ...local, service }, ...remote], settings: settings ?? remoteOnly, clusterset: undefined }
  }

  #cached(key: ServiceKey, from: readonly unknown[], make: () => ClusterService): ClusterService {
    const known = this.#cache.get(key)
    if (known?.from.every((part, i) => part === from[i])) return known.service
    const service = make()
    this.#cache.set(key, { from, service })
    return service
  }
}

/** A service with the address of the local ServiceImport, if there is one, and the spec that the exporting clusters agreed on. */
function importedService(
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
    ...(imported?.serviceImport && { serviceImport: imported.serviceImport }),
    ...(imported?.derived !== undefined && { derived: imported.derived }),
    ...(imported?.origin !== undefined && { origin: imported.origin }),
  }
}
