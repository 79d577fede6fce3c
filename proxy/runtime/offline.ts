/** Reads a configuration with its manifests and plugins as far as possible without binding an address or sending a packet. */
import { dirname } from 'node:path'
import { Admission } from '../admission/admission.ts'
import { createBalancer } from '../balancer/balancers.ts'
import { type Chain, createChain } from '../chain/chain.ts'
import type { HostParts } from '../chain/host.ts'
import type { LoadedPlugin } from '../chain/loading/instance.ts'
import { loadPlugins } from '../chain/loading/load.ts'
import type { Loaded } from '../config/load.ts'
import { Mesh } from '../mesh/mesh.ts'
import type { MeshError, Problem } from '../model/error.ts'
import { silentLog } from '../model/log.ts'
import type { Sink } from '../model/sink.ts'
import { systemClock } from '../model/time/clock.ts'
import { createManifestsSource } from '../sources/manifests/manifests-source.ts'
import { WorkloadStore } from '../workloads/store.ts'
import { clustersOf, vipOptions } from './options.ts'
import { machineAddresses, ownSockets } from './own-sockets.ts'
import { rightsOf } from './sources/cluster-sources.ts'
import { bothSinks } from './sources/sinks.ts'

export interface Offline {
  readonly mesh: Mesh
  readonly admission: Admission
  readonly workloads: WorkloadStore
  /** Empty when a plugin cannot be loaded. */
  readonly plugins: readonly LoadedPlugin[]
  readonly errors: readonly MeshError[]
  readonly chain: Chain
  readonly host: HostParts
  /** Manifests that could not be read. */
  readonly unread: readonly Problem[]
  /** By cluster, the sorts of objects in its manifests that are not read. */
  readonly ignored: ReadonlyMap<string, readonly string[]>
  close(): Promise<void>
}

/** Clusters of other sources stay empty. */
export async function readOffline({ config, file, placeOf }: Loaded): Promise<Offline> {
  const clusters = clustersOf(config.cluster, config.clusters)
  const { vips, services } = config.proxy
  const admission = new Admission({ wholeAddresses: config.proxy.nftables === 'redirect' })
  admission.setSockets(
    ownSockets({
      dns: config.dns.listen,
      admin: config.admin.listen,
      metrics: config.admin.metrics,
      gateway: config.gateway?.listen,
    }),
    machineAddresses(),
  )
  for (const [name, rights] of rightsOf(config.cluster, config.clusters)) admission.allow(name, rights)
  const mesh = new Mesh({
    clusters,
    staleAfterMs: 0,
    ...vipOptions(vips),
    services,
    onMerged: change => admission.follow(change),
    health: () => 'unknown',
    clock: systemClock,
    log: silentLog,
  })
  const workloads = new WorkloadStore()
  const host = { clusters: () => clusters, clock: systemClock, random: Math.random, log: silentLog, workloads }
  const { plugins, errors } = await loadPlugins({ uses: config.plugins, folder: dirname(file), placeOf, host })
  const withPolicies = plugins.some(({ usesWorkloads }) => usesWorkloads)
  const names = clusters.map(({ name }) => name)
  workloads.setClusters([config.cluster, ...names.filter(name => name !== config.cluster)])
  const { unread, ignored } = await readManifests(config.clusters, withPolicies, name => {
    const sink = mesh.sink(name)
    return admission.sink(name, withPolicies ? bothSinks(sink, workloads.sink(name)) : sink)
  })
  mesh.flush()

  const chain = createChain({
    plugins,
    balancer: openFlows => createBalancer(config.proxy.balancer, { random: Math.random, openFlows }),
    directory: mesh.directory,
    clock: systemClock,
    log: silentLog,
  })
  return {
    ...{ mesh, admission, workloads, plugins, errors, chain, host, unread, ignored },
    close: async () => {
      await chain.close()
      mesh.close()
    },
  }
}

/** Resolves when every folder of manifests has been read once, with the problems of those that could not be, and what was ignored. */
async function readManifests(
  clusters: Loaded['config']['clusters'],
  workloads: boolean,
  sinkOf: (cluster: string) => Sink,
): Promise<Pick<Offline, 'unread' | 'ignored'>> {
  const unread: Problem[] = []
  const ignored = new Map<string, string[]>()
  await Promise.all(
    clusters.map(async ({ name, source: config }) => {
      if (!('manifests' in config)) return
      const kinds: string[] = []
      ignored.set(name, kinds)
      const { promise, resolve } = Promise.withResolvers<void>()
      const source = createManifestsSource(config.manifests, {
        ...{ cluster: name, clock: systemClock, log: silentLog },
        workloads,
        ignored: what => kinds.push(what),
      })
      const sink = sinkOf(name)
      source.start({
        ...sink,
        reset: snapshot => {
          sink.reset(snapshot)
          resolve()
        },
        lost: error => {
          sink.lost(error)
          unread.push({ code: error.code, where: name, message: error.message })
          resolve()
        },
      })
      await promise
      await source.close()
    }),
  )
  return { unread, ignored }
}
