/** What `starlane underlay` runs: the sources of all clusters, read for their nodes alone, and the underlay after them. */
import { SharedConnections } from '../../clients/etcd/connect.ts'
import type { Loaded } from '../../config/load.ts'
import { MeshError } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import { systemClock } from '../../model/time/clock.ts'
import type { UnderlayOptions } from '../../underlay/plan.ts'
import type { Proposal } from '../../underlay/underlay.ts'
import { createSource } from '../sources/cluster-sources.ts'
import { type Daemon, UnderlayKeeper } from './keeper.ts'
import { NodeKey } from './node-key.ts'

export interface UnderlayRuntimeParts {
  readonly loaded: Loaded
  readonly options: UnderlayOptions
  /** The name or an address of this node; undefined: found by the addresses of this machine. */
  readonly node: string | undefined
  readonly log: Log
  readonly env: Readonly<Record<string, string | undefined>>
}

export interface UnderlayRuntime {
  /** Resolves when every cluster has been read; rejects with UNDERLAY and the names of those that have not within 10 s. */
  read(): Promise<void>
  /** What would be done. */
  propose(): Promise<Proposal>
  /** Rejects with UNDERLAY where another process of this network namespace keeps the underlay. */
  apply(): Promise<Proposal>
  /** A configuration for a routing daemon. */
  daemon(which: Daemon): Promise<string>
  /** Follows the nodes until `close`. Removes nothing before every cluster has been read. Rejects as `apply` does. */
  follow(): Promise<void>
  /** Resolves with the number of commands that it took. Rejects as `apply` does. */
  remove(): Promise<number>
  close(): Promise<void>
}

const readMs = 10_000
const lookMs = 20

/** `reads`: false where the nodes are not needed, for `remove`. */
export function createUnderlay(
  { loaded: { config }, options, node, log, env }: UnderlayRuntimeParts,
  { reads = true } = {},
): UnderlayRuntime {
  const world = { clock: systemClock, random: Math.random, log, env }
  const source = config.clusters.find(({ name }) => name === config.cluster)?.source
  const key = new NodeKey(source, world)
  const keeper = new UnderlayKeeper({ cluster: config.cluster, options, node, clock: systemClock, log, key })
  keeper.setClusters(config.clusters)
  const connections = new SharedConnections()
  const joined = new Set(keeper.table.waiting())
  const sources = config.clusters
    .filter(({ name }) => reads && joined.has(name))
    .map(cluster => {
      const local = cluster.name === config.cluster
      const source = createSource(cluster, {
        ...{ ...world, local, pods: false, workloads: false, nodes: 'only' },
        ...{ maxClusters: config.maxConnectedClusters, connections },
        admit: () => {},
      })
      source.start(keeper.sink(cluster))
      return source
    })
  let isClosed = false

  return {
    read: async () => {
      const { table } = keeper
      for (const deadline = performance.now() + readMs; table.waiting().length > 0; ) {
        if (performance.now() > deadline) {
          const why = table
            .waiting()
            .map(name => `${name}${table.failureOf(name) ? ` (${table.failureOf(name)})` : ''}`)
          throw new MeshError('UNDERLAY', `these clusters do not answer: ${why.join(', ')}`)
        }
        await new Promise(resolve => setTimeout(resolve, lookMs))
      }
    },
    propose: () => keeper.propose(),
    apply: () => keeper.apply(),
    daemon: which => keeper.daemon(which),
    follow: async () => {
      await keeper.lock()
      keeper.follow()
    },
    remove: () => keeper.remove(),
    close: async () => {
      if (isClosed) return
      isClosed = true
      await keeper.close()
      await Promise.all(sources.map(source => source.close()))
    },
  }
}
