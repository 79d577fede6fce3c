/**
 * The composition root: builds the parts, wires them, starts and stops them in order. Control (sources, mesh, health) and
 * data (chain, dataplane, dns) meet in the directory alone; what joins them otherwise stands on this page.
 *
 *   feeds ─▶ mesh ─▶ directory ─▶ chain, traffic (engine, listeners), dns, health
 *              ▲                         │ results of dials
 *              └────── health ◀──────────┘
 */
import { dirname } from 'node:path'

import { createMetrics, type Metrics } from './admin/metrics.ts'
import { Admin } from './admin/server.ts'
import type { Views } from './admin/views.ts'
import { createBalancer } from './balancer/balancers.ts'
import { type Chain, createChain } from './chain/chain.ts'
import type { LoadedPlugin } from './chain/loading/instance.ts'
import { loadPlugins } from './chain/loading/load.ts'
import type { Loaded } from './config/load.ts'
import type { Config } from './config/schema.ts'
import { HealthMonitor } from './health/monitor.ts'
import { Mesh } from './mesh/mesh.ts'
import { endpointText } from './model/address.ts'
import type { Cluster } from './model/cluster.ts'
import { MeshError, messageOf } from './model/error.ts'
import type { Balancer, OpenFlows } from './model/flow.ts'
import type { Log } from './model/log.ts'
import { type Clock, type Random, systemClock } from './model/time/clock.ts'
import type { ServiceView, Status } from './model/views.ts'
import { Roster } from './runtime/cluster-list.ts'
import { Feeds } from './runtime/feeds.ts'
import { flowLog } from './runtime/flow-log.ts'
import { NameService } from './runtime/name-service.ts'
import { clustersOf, dnsOptions, engineOptions, etcdsOf, healthOptions, queryFilter } from './runtime/options.ts'
import { Traffic } from './runtime/proxy.ts'
import { Publication } from './runtime/publication.ts'
import { replacedBy, restartFields } from './runtime/reload.ts'
import { createViews, type Parts } from './runtime/views.ts'
import { WriteBack } from './runtime/write-back.ts'

export { type Report, validate } from './runtime/validate.ts'

export interface RuntimeParts {
  readonly loaded: Loaded
  readonly log: Log
  /** `1.2.3`, for status. */
  readonly version: string
  readonly clock?: Clock
  readonly random?: Random
  /**
   * `KUBECONFIG`, the service account's address, `NODE_NAME`: the node that Starlane runs on, where it matters, and
   * `STARLANE_NATIVE`: 0 keeps `proxy.engine: auto` from the native engine.
   */
  readonly env: Readonly<Record<string, string | undefined>>
}

/** What `ready` tells. */
export interface Ready {
  /** `127.0.0.1:5353`; undefined while it cannot be bound. */
  readonly dns: string | undefined
  readonly admin: string
  /** Which engine carries flows; where `auto` could not have the native one, also why. */
  readonly engine: string
  readonly listeners: number
  readonly services: number
}

export interface Runtime {
  /** Rejects when Starlane cannot be of use at all: nobody could look at it, since the admin address is taken. */
  start(): Promise<void>
  /** Resolves when sources, DNS and listeners have come up once. */
  readonly ready: Promise<Ready>
  status(): Status
  service(namespace: string, name: string): ServiceView | undefined
  /** Takes over another configuration. Rejects, and has changed nothing, when a plugin of it cannot be loaded. */
  reload(loaded: Loaded): Promise<void>
  /** Drains: no new flows, those in progress may end within `proxy.drain`. */
  close(): Promise<void>
  /** Cuts all flows now; `close` then has nothing to wait for. */
  destroy(): void
}

/** Rejects with `MeshError` that lists every fault of every plugin. */
export async function createRuntime(parts: RuntimeParts): Promise<Runtime> {
  const starlane = new Starlane(parts)
  await starlane.load(parts.loaded, [])
  return starlane
}

/** A remote cluster that says nothing at all for so long holds up `ready` no longer. */
const patienceMs = 60_000

class Starlane implements Runtime {
  readonly ready: Promise<Ready>
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: Log
  readonly #env: RuntimeParts['env']
  readonly #mesh: Mesh
  readonly #chain: Chain
  readonly #roster: Roster
  readonly #feeds: Feeds
  readonly #writeBack: WriteBack
  readonly #publication: Publication
  readonly #admin: Admin
  readonly #metrics: Metrics
  readonly #startedAt: number
  readonly #views: Views
  #config: Config
  #clusters: readonly Cluster[]
  #plugins: readonly LoadedPlugin[] = []
  #health: HealthMonitor
  #traffic: Traffic
  #names: NameService
  #isReady = false
  #isStopping = false
  #reloading: Promise<void> = Promise.resolve()
  #regrouping: Promise<void> = Promise.resolve()
  #announce: (ready: Ready) => void

  constructor({ loaded, log, version, clock = systemClock, random = Math.random, env }: RuntimeParts) {
    const { config } = loaded
    const announcement = Promise.withResolvers<Ready>()
    this.ready = announcement.promise
    this.#announce = announcement.resolve
    this.#clock = clock
    this.#random = random
    this.#log = log
    this.#env = env
    this.#config = config
    this.#clusters = clustersOf(config.cluster, config.clusters)
    this.#startedAt = clock.wall()

    const { vips, services } = config.proxy
    this.#mesh = new Mesh({
      clusters: this.#clusters,
      staleAfterMs: config.stale.after,
      ...(vips === 'clusterIP' ? {} : { vips: vips.cidr }),
      services,
      ...(env.NODE_NAME ? { node: env.NODE_NAME } : {}),
      health: backend => this.#health.verdict(backend),
      clock,
      log,
    })
    this.#views = createViews({
      parts: () => this.#parts(),
      version,
      startedAt: this.#startedAt,
      clock,
      metrics: () => this.#metrics.text(),
    })
    this.#metrics = createMetrics({
      directory: this.#mesh.directory,
      status: () => this.#views.status(),
      open: () => this.#traffic.stats(),
      dns: () => this.#names.responder.stats(),
      health: () => this.#health.stats(),
      plugins: () => this.#chain.counters(),
      pluginFaults: () => this.#chain.faultCounts(),
    })
    this.#chain = createChain({
      plugins: [],
      balancer: openFlows => this.#newBalancer(openFlows),
      directory: this.#mesh.directory,
      clock,
      log,
      observers: [
        { result: (flow, backend, result) => this.#health.result(flow, backend, result) },
        this.#metrics.flows,
        flowLog(log, clock),
      ],
    })
    this.#health = this.#newHealth()
    this.#traffic = this.#newTraffic()
    this.#names = this.#newNames()
    this.#roster = new Roster(config, clock, () => void this.#regroup())
    this.#feeds = new Feeds(this.#mesh, { clock, random, log, env })
    this.#writeBack = new WriteBack(config, this.#mesh, { clock, random, log, env })
    this.#publication = new Publication(config, this.#mesh, { clock, random, log, env })
    this.#admin = new Admin({ listen: config.admin.listen, views: this.#views, log, clock })
  }

  status(): Status {
    return this.#views.status()
  }

  service(namespace: string, name: string): ServiceView | undefined {
    return this.#views.service(namespace, name)
  }

  /** Plugins that can all be created take over; otherwise nothing changes. */
  async load(loaded: Loaded, living: readonly LoadedPlugin[]): Promise<void> {
    const { plugins, errors } = await loadPlugins({
      uses: loaded.config.plugins,
      folder: dirname(loaded.file),
      placeOf: loaded.placeOf,
      host: { clusters: () => this.#clusters, clock: this.#clock, random: this.#random, log: this.#log },
      living,
    })
    const [first] = errors
    if (first) throw new MeshError(first.code, errors.map(messageOf).join('\n'), { cause: first })
    this.#plugins = plugins
    await this.#chain.replace(plugins)
  }

  async start(): Promise<void> {
    await this.#admin.start()
    this.#health.start()
    await this.#roster.follow(this.#config)
    await this.#regroup()
    // At once, since two clusters that read one another would else wait for each other.
    this.#publication.start()
    void this.#comeUp()
  }

  /** The clusters of the mesh are others than before. */
  #regroup(): Promise<void> {
    const regroup = async (): Promise<void> => {
      if (this.#isStopping) return
      const { clusters } = this.#roster
      this.#clusters = clustersOf(this.#config.cluster, clusters)
      this.#mesh.setClusters(this.#clusters)
      const { cluster, dns } = this.#config
      await this.#feeds.follow(clusters, dns.pods === 'verified' ? cluster : undefined)
      await this.#publication.copy(etcdsOf(this.#config.cluster, clusters))
    }
    this.#regrouping = this.#regrouping.catch(() => {}).then(regroup)
    return this.#regrouping
  }

  async #comeUp(): Promise<void> {
    const { promise: patience, resolve } = Promise.withResolvers<void>()
    this.#clock.after(patienceMs, resolve)
    await Promise.race([this.#mesh.initialized, Promise.all([this.#mesh.synced, patience])])
    await Promise.all([this.#traffic.start(), this.#names.start()])
    if (this.#isStopping) return
    this.#writeBack.start()
    this.#isReady = true
    this.#announce({
      dns: dnsAddress(this.#names),
      admin: this.#admin.address ?? '',
      engine: this.#traffic.engine,
      listeners: this.#traffic.listening,
      services: this.#mesh.directory.size,
    })
  }

  reload(loaded: Loaded): Promise<void> {
    this.#reloading = this.#reloading.catch(() => {}).then(() => this.#reload(loaded))
    return this.#reloading
  }

  /** Each part that is configured otherwise now is replaced; the others never notice. */
  async #reload(loaded: Loaded): Promise<void> {
    const before = this.#config
    const { config } = loaded
    const fixed = restartFields(before, config)
    if (fixed.length > 0) {
      throw new MeshError(
        'CONF_FIELD',
        `${loaded.file}: ${fixed.join(', ')} cannot change while Starlane runs; restart it`,
      )
    }
    const clusters = clustersOf(config.cluster, config.clusters)
    const oldClusters = this.#clusters
    this.#clusters = clusters
    try {
      await this.load(loaded, this.#plugins)
    } catch (error) {
      this.#clusters = oldClusters
      throw error
    }
    this.#config = config
    await this.#roster.follow(config)
    await this.#regroup()
    const replaced = replacedBy(before, config)
    if (replaced.balancer) this.#chain.setBalancer(openFlows => this.#newBalancer(openFlows))
    if (replaced.health) await this.#replaceHealth()
    if (replaced.proxy) await this.#replaceTraffic()
    if (replaced.dns) await this.#replaceNames()
    else this.#names.responder.logQueries(queryFilter(config))
  }

  async close(): Promise<void> {
    this.#isReady = false
    this.#isStopping = true
    this.#roster.close()
    await this.#regrouping
    await Promise.all([this.#writeBack.close(), this.#publication.close()])
    await this.#feeds.close()
    await this.#traffic.close()
    // After the flows have drained: their clients may know no other resolver.
    await this.#names.close()
    await this.#health.close()
    await this.#chain.close()
    this.#mesh.close()
    await this.#admin.close()
  }

  destroy(): void {
    this.#traffic.destroy()
  }

  async #replaceHealth(): Promise<void> {
    const old = this.#health
    this.#health = this.#newHealth()
    await old.close()
    this.#health.start()
    for (const service of this.#mesh.directory.services()) {
      for (const { key } of service.backends) this.#mesh.healthChanged(key)
    }
  }

  /** The new engine takes over the addresses as soon as the old one lets go; flows of the old one drain. */
  async #replaceTraffic(): Promise<void> {
    const old = this.#traffic
    this.#traffic = this.#newTraffic()
    await old.release()
    await this.#traffic.start()
    void old.close()
  }

  async #replaceNames(): Promise<void> {
    await this.#names.close()
    this.#names = this.#newNames()
    await this.#names.start()
  }

  #newBalancer(openFlows: OpenFlows): Balancer {
    return createBalancer(this.#config.proxy.balancer, { random: this.#random, openFlows })
  }

  #newHealth(): HealthMonitor {
    return new HealthMonitor({
      directory: this.#mesh.directory,
      options: healthOptions(this.#config),
      clock: this.#clock,
      random: this.#random,
      log: this.#log,
      onVerdict: backend => this.#mesh.healthChanged(backend),
    })
  }

  #newTraffic(): Traffic {
    const { anyip, engine, services } = this.#config.proxy
    return new Traffic({
      directory: this.#mesh.directory,
      chooser: this.#chain,
      engine,
      options: engineOptions(this.#config),
      services,
      anyip,
      clock: this.#clock,
      random: this.#random,
      log: this.#log,
      env: this.#env,
    })
  }

  #newNames(): NameService {
    return new NameService({
      directory: this.#mesh.directory,
      chooser: this.#chain,
      options: dnsOptions(this.#config),
      clock: this.#clock,
      random: this.#random,
      log: this.#log,
      ...(this.#traffic.sockets && { sockets: this.#traffic.sockets }),
    })
  }

  #parts(): Parts {
    return {
      config: this.#config,
      roster: this.#roster,
      feeds: this.#feeds,
      ready: this.#isReady,
      stopping: this.#isStopping,
      mesh: this.#mesh,
      chain: this.#chain,
      health: this.#health,
      traffic: this.#traffic,
      names: this.#names,
      writeBack: this.#writeBack,
      publication: this.#publication,
    }
  }
}

function dnsAddress({ responder: { address } }: NameService): string | undefined {
  return address && endpointText(address.address, address.port)
}
