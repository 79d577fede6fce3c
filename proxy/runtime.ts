/**
 * The composition root: builds the parts, wires them, and starts, reloads and stops them in order. Control (sources, mesh,
 * health) and data (chain, dataplane, dns) meet only in the directory; all other connections between them are made here.
 *
 *   sources ─▶ mesh ─▶ directory ─▶ chain, proxy (engine, listeners), dns, health
 *                ▲                       │ results of dials
 *                └────── health ◀────────┘
 */
import { dirname } from 'node:path'
import { setImmediate as nextRound } from 'node:timers/promises'

import { createMetrics, type Metrics } from './admin/metrics.ts'
import { Admin } from './admin/server.ts'
import type { Views } from './admin/views.ts'
import { Admission } from './admission/admission.ts'
import type { OwnSocket } from './admission/own-addresses.ts'
import { createBalancer } from './balancer/balancers.ts'
import { type Chain, createChain } from './chain/chain.ts'
import type { HostParts } from './chain/host.ts'
import type { LoadedPlugin } from './chain/loading/instance.ts'
import { loadPlugins } from './chain/loading/load.ts'
import { SharedConnections } from './clients/etcd/connect.ts'
import { watchFiles } from './clients/file-watch.ts'
import { loadGrpc } from './clients/grpc.ts'
import type { Loaded } from './config/load.ts'
import type { Config } from './config/schema.ts'
import type { Cut } from './dataplane/engine.ts'
import { LocalRoutes } from './dataplane/frontends/local-routes.ts'
import { PacketRules } from './dataplane/frontends/packet-rules.ts'
import { HealthMonitor } from './health/monitor.ts'
import type { Probe } from './health/probe.ts'
import { httpProbe } from './health/probe-http.ts'
import { tcpProbe } from './health/probe-tcp.ts'
import { Mesh } from './mesh/mesh.ts'
import { endpointText, parseEndpoint } from './model/address.ts'
import type { Cluster } from './model/cluster.ts'
import { MeshError, messageOf } from './model/error.ts'
import type { Balancer, OpenFlows } from './model/flow.ts'

import { groupFlows } from './model/flows/flow-groups.ts'
import type { Rehearsal } from './model/flows/rehearsal.ts'

import { descriptorShares, sumOf } from './model/limits/descriptors.ts'

import type { Location } from './model/location.ts'
import type { Log } from './model/log.ts'
import type { Inherited, PassedSocket } from './model/sockets/passing.ts'
import { type Clock, type Random, systemClock } from './model/time/clock.ts'
import type { ServiceView, Status } from './model/views.ts'
import { ClusterList } from './runtime/cluster-list.ts'
import { flowLog } from './runtime/flows/flow-log.ts'
import { Recording } from './runtime/flows/recording.ts'
import { SocketStore } from './runtime/handover/socket-store.ts'
import { closeAll, type Heritage, Succession } from './runtime/handover/succession.ts'
import { NameService } from './runtime/name-service.ts'
import {
  clustersOf,
  dnsOptions,
  engineOptions,
  etcdsOf,
  healthOptions,
  locationOf,
  offloadOptions,
  pumpsOf,
  queryFilter,
  usesEtcd,
  vipOptions,
} from './runtime/options.ts'
import { machineAddresses, ownSockets } from './runtime/own-sockets.ts'
import { L4Proxy } from './runtime/proxy.ts'
import { Publication } from './runtime/publication.ts'
import { rehearse } from './runtime/rehearsal/rehearsal.ts'
import { checkedRequest } from './runtime/rehearsal/request.ts'
import { changedParts, restartFields } from './runtime/reload.ts'
import { TokenRenewals } from './runtime/renewal/token-renewals.ts'
import { ClusterSources } from './runtime/sources/cluster-sources.ts'
import { Certificates } from './runtime/status/certificates.ts'
import { eventLoopPauses } from './runtime/status/pauses.ts'
import { LearnedGateways } from './runtime/tunnel/learned-gateways.ts'
import { gatewayProbe, told } from './runtime/tunnel/probe.ts'
import { Tunnelling } from './runtime/tunnel/tunnelling.ts'
import { UnderlayKeeper } from './runtime/underlay/keeper.ts'
import { NodeKey } from './runtime/underlay/node-key.ts'
import { underlayOptions } from './runtime/underlay/options.ts'
import { createViews, type Role, type RunningParts } from './runtime/views.ts'
import { WriteBack } from './runtime/write-back.ts'
import { StateStore } from './state/state-store.ts'
import { WorkloadStore } from './workloads/store.ts'

export { rehearseOffline } from './runtime/rehearsal/offline.ts'
export { underlayOptions } from './runtime/underlay/options.ts'
export { createUnderlay, type UnderlayRuntime } from './runtime/underlay/underlay.ts'
export { type Report, validate } from './runtime/validate.ts'
export { commandText } from './underlay/command.ts'

export interface RuntimeParts {
  readonly loaded: Loaded
  readonly log: Log
  /** Shown in status, like `1.2.3`. */
  readonly version: string
  readonly clock?: Clock
  readonly random?: Random
  /**
   * Environment variables: `KUBECONFIG` and the API server's address for a service account, `NODE_NAME` (the node that Starlane
   * runs on, for `internalTrafficPolicy: Local`), `STARLANE_NATIVE` (0: `proxy.engine: auto` does not use the native engine).
   */
  readonly env: Readonly<Record<string, string | undefined>>
  /** `gateway`: serves other clusters and nothing else, neither DNS nor frontends. */
  readonly role?: Role
}

/** What is known once Starlane is ready. */
export interface Ready {
  /** Like `127.0.0.1:5353`; undefined if it cannot be bound. */
  readonly dns: string | undefined
  readonly admin: string
  /** With `admin.metrics`. */
  readonly metrics?: string
  /** The engine; if `auto` could not load the native one, also why. */
  readonly engine: string
  readonly listeners: number
  readonly services: number
}

export interface Runtime {
  /**
   * Takes over from a process of the same configuration, if one runs; resolves when it serves in its place, and rejects without any
   * change when it cannot. Rejects also when the address of
   * `admin.listen` or `admin.metrics` is in use. Other failures are problems in status.
   */
  start(): Promise<void>
  /** Resolves when the sources have synced, and DNS and the listeners have started. */
  readonly ready: Promise<Ready>
  status(): Status
  service(namespace: string, name: string): ServiceView | undefined
  /** Applies another configuration. Rejects, without any change, when a plugin cannot be loaded or a restart is needed. */
  reload(loaded: Loaded): Promise<void>
  /**
   * Not ready from now on; accepts flows for `proxy.announce` more, then none. Those in progress may end within `proxy.drain`; DNS
   * answers until then, and after that while anybody asks, within the same time. Resolves with how many flows were cut.
   */
  close(): Promise<Cut>
  /** Resolves when a successor serves in place of this process: it is to be closed. */
  readonly handedOver: Promise<void>
  /** Tells the service manager, if there is one (sd_notify(3)). */
  notify(text: string): void
  /** Ends all flows now, so that `close` need not wait for them. */
  destroy(): void
}

/** Rejects with a `MeshError` that lists all faults of all plugins. */
export async function createRuntime(parts: RuntimeParts): Promise<Runtime> {
  const starlane = new Starlane(parts)
  await starlane.load(parts.loaded, [])
  // Loading it takes 20 ms of the thread, and nothing waits for that yet. Who needs it says so where it is missing.
  if (usesEtcd(parts.loaded.config)) await loadGrpc('etcd', 'SOURCE_READ').catch(() => {})
  return starlane
}

/** How long remote clusters may take before the local services are served without them. They join when they have synced. */
const remoteGraceMs = 2000

/** After the start: by then the first events and checks have run, and what they have touched need not be read again. */
const settledMs = 2000
/** How often the addresses of this machine are read: it may get its own only after the start. */
const addressesMs = 5000

class Starlane implements Runtime {
  readonly ready: Promise<Ready>
  readonly handedOver: Promise<void>
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: Log
  readonly #env: RuntimeParts['env']
  readonly #role: Role
  readonly #admission: Admission
  readonly #workloads = new WorkloadStore()
  readonly #mesh: Mesh
  readonly #chain: Chain
  readonly #clusterList: ClusterList
  readonly #sources: ClusterSources
  readonly #store: StateStore
  readonly #writeBack: WriteBack
  readonly #tokens: TokenRenewals
  readonly #publication: Publication
  readonly #admin: Admin
  /** Probes and metrics alone, with `admin.metrics`. */
  readonly #probes: Admin | undefined
  readonly #metrics: Metrics
  readonly #recording: Recording
  readonly #certificates: Certificates
  readonly #startedAt: number
  readonly #views: Views
  readonly #routes: LocalRoutes | undefined
  readonly #rules: PacketRules | undefined
  #config: Config
  #clusters: readonly Cluster[]
  #location: Location
  #plugins: readonly LoadedPlugin[] = []
  readonly #health: HealthMonitor
  readonly #tunnelling: Tunnelling
  readonly #underlay: UnderlayKeeper | undefined
  readonly #gateways: LearnedGateways
  readonly #proxy: L4Proxy
  readonly #names: NameService
  readonly #succession: Succession
  readonly #socketStore: SocketStore
  /** Descriptors of the parts that have a share of their own; known once they are built. */
  #heldElsewhere: () => number = () => 0
  #isReady = false
  #areGatewaysDue = false
  #isStopping = false
  /** The service manager has the sockets too. */
  #isKept = false
  /** Another process has the sockets, routes and rules. */
  #isHandedOver = false
  #closing: Promise<Cut> | undefined
  #endAnnouncement: () => void = () => {}
  #stopLooking: () => void = () => {}
  #reloading: Promise<void> = Promise.resolve()
  #updating: Promise<void> = Promise.resolve()
  #resolveReady: (ready: Ready) => void

  constructor({ loaded, log, version, clock = systemClock, random = Math.random, env, role = 'all' }: RuntimeParts) {
    const { config } = loaded
    const announcement = Promise.withResolvers<Ready>()
    this.ready = announcement.promise
    this.#resolveReady = announcement.resolve
    const handover = Promise.withResolvers<void>()
    this.handedOver = handover.promise
    this.#clock = clock
    this.#random = random
    this.#log = log
    this.#env = env
    this.#role = role
    this.#config = config
    this.#clusters = clustersOf(config.cluster, config.clusters)
    this.#startedAt = clock.wall()

    const { vips, services, serviceProxyName, anyip, nftables } = config.proxy
    this.#location = locationOf(config, env)
    const { node } = this.#location
    this.#routes = anyip ? new LocalRoutes({ log }) : undefined
    this.#rules = nftables === 'none' ? undefined : new PacketRules({ mode: nftables, clock, log })
    this.#admission = new Admission({
      wholeAddresses: nftables === 'redirect',
      isListener: (address, port, protocol) => this.#proxy.steering?.isListener(address, port, protocol) ?? false,
    })
    this.#mesh = new Mesh({
      clusters: this.#clusters,
      staleAfterMs: config.stale.after,
      dropAfterMs: config.stale.drop,
      ...vipOptions(vips),
      services,
      ...(serviceProxyName === '*' ? {} : { proxyName: serviceProxyName }),
      ...(node === undefined ? {} : { node }),
      onOwnNode: () => this.#locate(),
      onMerged: change => this.#admission.follow(change),
      health: destination => this.#health.verdict(destination),
      untested: destination => this.#health.isUntested(destination),
      clock,
      log,
    })
    this.#views = createViews({
      parts: () => this.#parts(),
      version,
      startedAt: this.#startedAt,
      instance: env.POD_NAME || undefined,
      clock,
      metrics: () => this.#metrics,
      rehearse: request => this.#rehearse(request),
    })
    this.#metrics = createMetrics({
      directory: this.#mesh.directory,
      status: () => this.#views.status(),
      examine: () => this.#views.examine(),
      open: () => this.#proxy.stats(),
      dns: () => this.#names.responder.stats(),
      health: () => this.#health.stats(),
      plugins: () => this.#chain.counters(),
      pluginFaults: () => this.#chain.faultCounts(),
      ...(config.admin.exemplars && { exemplars: clock }),
    })
    this.#certificates = new Certificates(() => this.#config, { clock, random, log, env })
    this.#recording = new Recording({
      ...{ clock, random, log, env },
      config: () => this.#config,
      directory: this.#mesh.directory,
      workloads: this.#workloads,
      dns: () => this.#names.responder.address,
      route: cluster => this.#config.clusters.find(({ name }) => name === cluster)?.route ?? 'direct',
    })
    const { recorder, counts } = this.#recording
    this.#chain = createChain({
      plugins: [],
      balancer: openFlows => this.#newBalancer(openFlows),
      directory: this.#mesh.directory,
      clock,
      log,
      attempts: () => this.#config.proxy.dial.attempts,
      pauses: eventLoopPauses(),
      observers: [
        {
          connecting: flow => this.#health.connecting(flow),
          result: (flow, backend, result) => this.#health.result(flow, backend, result),
          closed: (flow, backend, totals) => this.#health.closed(flow, backend, totals),
        },
        this.#metrics.flows,
        ...(recorder ? [recorder] : []),
        counts,
        flowLog(log, clock),
      ],
    })
    const gateways = new LearnedGateways(() => this.#gatewaysChanged())
    this.#gateways = gateways
    this.#tunnelling = new Tunnelling({
      config,
      gateways,
      mesh: this.#mesh,
      chain: this.#chain,
      carrier: () => this.#proxy.serverCarrier?.(),
      onHealth: cluster => this.#health.told(cluster, endpoint => told(this.#tunnelling.client, endpoint)),
      ...{ clock, random, log, env },
    })
    this.#health = this.#newHealth()
    this.#proxy = this.#newProxy()
    this.#names = this.#newNames()
    this.#store = new StateStore({ folder: config.state, clock, log })
    this.#clusterList = new ClusterList(config, clock, () => void this.#updateClusters())
    this.#underlay = role === 'all' ? this.#newUnderlay() : undefined
    const underlay = this.#underlay
    const connections = new SharedConnections()
    this.#sources = new ClusterSources(this.#mesh, this.#admission, this.#workloads, {
      ...{ clock, random, log, env },
      ...{ maxClusters: loaded.config.maxConnectedClusters, connections },
      store: this.#store,
      nodes: underlay && (cluster => underlay.sink(cluster)),
      gateways,
    })
    this.#writeBack = new WriteBack(config, this.#mesh, { clock, random, log, env })
    this.#tokens = new TokenRenewals({ clock, random, log, env })
    this.#publication = new Publication(config, this.#mesh, { clock, random, log, env, connections })
    const { listen, metrics } = config.admin
    const admin = { connections: descriptorShares().admin, views: this.#views, log, clock }
    this.#admin = new Admin({ listen, ...admin })
    this.#probes = metrics && new Admin({ listen: metrics, narrow: true, ...admin })
    this.#heldElsewhere = () =>
      this.#admin.connections +
      (this.#probes?.connections ?? 0) +
      this.#names.responder.stats().tcp.connections +
      this.#health.stats().inFlight
    this.#socketStore = new SocketStore(this.#proxy.calls, env)
    this.#succession = new Succession({
      ...{ clock, random, log, env, version, cluster: config.cluster, file: loaded.file, folder: config.state },
      ...{ mesh: this.#mesh, store: this.#store, health: this.#health, chain: this.#chain, calls: this.#proxy.calls },
      obstacle: () => this.#obstacle(),
      hasRules: () => this.#proxy.hasRules,
      pass: () => this.#pass(),
      takeBack: inherited => this.#takeBack(inherited),
      tookOver: () => this.notify(`MAINPID=${process.pid}`),
      handedOver: () => {
        this.#isHandedOver = true
        this.#proxy.abandon()
        this.#endAnnouncement()
        handover.resolve()
      },
    })
  }

  status(): Status {
    return this.#views.status()
  }

  service(namespace: string, name: string): ServiceView | undefined {
    return this.#views.service(namespace, name)
  }

  /** Installs the plugins if all of them can be created; otherwise nothing changes. `living`: instances to keep if unchanged. */
  async load(loaded: Loaded, living: readonly LoadedPlugin[]): Promise<void> {
    const { plugins, errors, inPlace } = await loadPlugins({
      uses: loaded.config.plugins,
      folder: dirname(loaded.file),
      placeOf: loaded.placeOf,
      host: this.#pluginHost(),
      living,
    })
    const [first] = errors
    if (first) throw new MeshError(first.code, errors.map(messageOf).join('\n'), { cause: first })
    this.#plugins = plugins
    await this.#chain.replace(plugins, inPlace)
  }

  async start(): Promise<void> {
    await this.#succession.begin()
    // A successor gets the socket of the admin server with the others.
    const heritage = this.#succession.succeeds ? undefined : await this.#succession.heritage()
    if (heritage) await this.#startAdmin(heritage.inherited)
    // Whoever asks it by now is answered before what follows, which is a lot for hundreds of clusters.
    await nextRound()
    this.#listOwnSockets()
    this.#health.start()
    await this.#store.open()
    await this.#tunnelling.start()
    this.#underlay?.follow()
    await this.#clusterList.follow(this.#config)
    await this.#updateClusters()
    // Before the sources have synced: two clusters that read each other would wait for each other forever.
    this.#publication.start()
    const finished = this.#finishStart(heritage)
    void this.#certificates.start()
    if (!heritage) await finished
  }

  /** What clusters say of their gateways has changed. Several changes of one turn are one. */
  #gatewaysChanged(): void {
    if (this.#areGatewaysDue) return
    this.#areGatewaysDue = true
    setImmediate(() => {
      this.#areGatewaysDue = false
      if (this.#isStopping) return
      this.#tunnelling.gatewaysChanged()
      const { cluster } = this.#config
      if (!this.#gateways.knows(cluster)) return
      this.#publication.setGateways(this.#gateways.of(cluster).map(({ text }) => text))
    })
  }

  /** Applies the current list of clusters. Calls run one after the other. */
  #updateClusters(): Promise<void> {
    const update = async (): Promise<void> => {
      if (this.#isStopping) return
      const { clusters } = this.#clusterList
      this.#clusters = clustersOf(this.#config.cluster, clusters)
      this.#mesh.setClusters(this.#clusters)
      this.#tunnelling.follow(clusters)
      this.#underlay?.setClusters(clusters)
      const { cluster, dns } = this.#config
      await this.#sources.follow(clusters, cluster, {
        podsOf: dns.pods === 'verified' ? cluster : undefined,
        workloads: this.#plugins.some(({ usesWorkloads }) => usesWorkloads),
      })
      await this.#publication.copy(etcdsOf(this.#config.cluster, clusters))
    }
    this.#updating = this.#updating.catch(() => {}).then(update)
    return this.#updating
  }

  async #finishStart(given: Heritage | undefined): Promise<void> {
    const { promise: timeout, resolve } = Promise.withResolvers<void>()
    this.#clock.after(remoteGraceMs, resolve)
    await Promise.race([this.#mesh.initialized, Promise.all([this.#mesh.synced, timeout])])
    await this.#sources.policiesSettled
    const heritage = given ?? (await this.#succession.heritage())
    const { inherited, succeeds } = heritage
    const isAll = this.#role === 'all'
    const names = isAll ? this.#names.start(inherited) : undefined
    // A process that cannot serve must not replace one that does: clients are accepted last.
    if (succeeds) await names
    if (succeeds && this.#names.failure) throw this.#names.failure
    const proxy = isAll ? this.#proxy.start(inherited, succeeds) : undefined
    await Promise.all([proxy, names, this.#tunnelling.serve(inherited)])
    this.#listOwnSockets()
    if (this.#isStopping) return
    this.#isReady = true
    // Ready before the admin server answers: its predecessor was.
    if (!given) await this.#startAdmin(inherited)
    await this.#succession.complete(heritage)
    this.#socketStore.take()
    this.#listOwnSockets()
    this.#stopLooking = this.#clock.every(addressesMs, () => this.#listOwnSockets())
    this.#writeBack.start()
    void this.#tokens.follow(this.#config)
    this.#clock.after(settledMs, () => void this.#proxy.releaseProgramPages?.())
    this.#resolveReady({
      dns: dnsAddress(this.#names),
      admin: this.#admin.address ?? '',
      ...(this.#probes?.address === undefined ? {} : { metrics: this.#probes.address }),
      engine: this.#proxy.engine,
      listeners: this.#proxy.listening,
      services: this.#mesh.directory.size,
    })
  }

  async #startAdmin(inherited: Inherited): Promise<void> {
    await this.#admin.start(inherited)
    await this.#probes?.start(inherited)
  }

  /** A successor may come to the end of the drain: for what is open still, and not to find its addresses in use. */
  #obstacle(): string | undefined {
    if (this.#isKept) return 'it is stopping, and the service manager has its sockets'
    return this.#isReady || this.#isStopping ? undefined : 'it is not ready yet'
  }

  async #pass(): Promise<PassedSocket[]> {
    const { calls } = this.#proxy
    if (!calls) return []
    await this.#reloading.catch(() => {})
    const frontends = await this.#proxy.pass()
    const admin = [this.#admin, this.#probes].flatMap(server => server?.pass(calls) ?? [])
    return [...frontends, ...this.#names.pass(calls), ...this.#tunnelling.pass(calls), ...admin]
  }

  async #takeBack(inherited: Inherited): Promise<void> {
    const isAll = this.#role === 'all'
    await Promise.all([this.#startAdmin(inherited), isAll && this.#names.start(inherited)])
    await Promise.all([this.#proxy.takeBack(inherited), this.#tunnelling.takeBack(inherited)])
    closeAll(inherited.left)
  }

  /** Stops reading from sockets that are a predecessor's still: whom it has accepted, it serves to the end. */
  async #letGo(): Promise<void> {
    closeAll(await this.#pass())
  }

  notify(text: string): void {
    this.#socketStore.notify(text)
  }

  /** Of all that clients come to. */
  #socketNames(): string[] {
    const own = this.#ownSockets().map(({ address, port, protocol }) => `${endpointText(address, port)}/${protocol}`)
    return [...own, ...this.#proxy.openFrontends]
  }

  reload(loaded: Loaded): Promise<void> {
    this.#reloading = this.#reloading.catch(() => {}).then(() => this.#reload(loaded))
    return this.#reloading
  }

  /** Gives each part whose options have changed its new ones, in place: sockets, flows and verdicts stay. */
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
    this.#locate()
    await this.#clusterList.follow(config)
    await this.#updateClusters()
    await this.#tokens.follow(config)
    const changed = changedParts(before, config)
    this.#recording.configure(config)
    void this.#certificates.start()
    if (changed.balancer) this.#chain.setBalancer(openFlows => this.#newBalancer(openFlows))
    if (changed.health) this.#health.configure(healthOptions(config))
    this.#tunnelling.configure(config)
    if (changed.proxy) this.#proxy.configure(engineOptions(config), config.proxy.unlisted)
    if (changed.dns) await this.#names.configure(dnsOptions(config))
    else this.#names.responder.logQueries(queryFilter(config))
    this.#listOwnSockets()
  }

  close(): Promise<Cut> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** The sources are followed to the end of the drain, so that DNS and the last flows know what is true. */
  async #close(): Promise<Cut> {
    const { announce, drain } = this.#config.proxy
    const wasReady = this.#isReady
    this.#isReady = false
    this.#isStopping = true
    this.#stopLooking()
    if (wasReady && announce > 0 && !this.#leaves) await this.#announce(announce)
    await this.#succession.settled()
    if (this.#leaves) {
      if (!this.#isHandedOver) await this.#letGo()
      await this.#succession.close()
    } else this.#isKept = wasReady && this.#socketStore.keep(this.#socketNames()) > 0
    this.#clusterList.close()
    await this.#updating
    await Promise.all([this.#writeBack.close(), this.#publication.close(), this.#tokens.close()])
    const since = this.#clock.now()
    const [cut] = await Promise.all([this.#proxy.close({ isKept: this.#isKept }), this.#tunnelling.close()])
    this.#tunnelling.destroy()
    // After the flows have drained, since their clients may have no other resolver.
    if (!this.#leaves) await this.#names.quiet(since + drain - this.#clock.now())
    await this.#succession.finish()
    const leaves = this.#leaves
    await this.#succession.close()
    if (leaves) await Promise.all([this.#rules?.release(), this.#routes?.abandon()])
    await this.#underlay?.close({ remove: !leaves })
    await this.#rules?.close()
    await this.#routes?.close()
    await this.#names.close()
    await this.#sources.close()
    await this.#store.close()
    await this.#health.close()
    await this.#chain.close()
    await this.#recording.close()
    this.#certificates.close()
    this.#mesh.close()
    await Promise.all([this.#admin.close(), this.#probes?.close()])
    return cut
  }

  destroy(): void {
    this.#isStopping = true
    this.#endAnnouncement()
    this.#names.hurry()
    this.#proxy.destroy()
    this.#tunnelling.destroy()
  }

  /** Another process has taken over, or this one never has: everything is left as it is. */
  get #leaves(): boolean {
    return this.#isHandedOver || this.#succession.succeeds
  }

  async #announce(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const stop = this.#clock.after(ms, resolve)
    this.#endAnnouncement = () => {
      stop()
      resolve()
    }
    await promise
  }

  /** Besides frontends. A port of 0 in the configuration is known once it is bound. */
  #ownSockets(): OwnSocket[] {
    const { responder } = this.#names
    const dns = responder.address ?? this.#config.dns.listen
    const admin = parseEndpoint(this.#admin.address ?? '') ?? this.#config.admin.listen
    const metrics = parseEndpoint(this.#probes?.address ?? '') ?? this.#config.admin.metrics
    return ownSockets({ dns, admin, metrics, gateway: this.#tunnelling.gatewayAddress })
  }

  #listOwnSockets(): void {
    const machine = machineAddresses()
    this.#admission.setSockets(this.#ownSockets(), machine)
    this.#workloads.setMachine(machine, address => this.#admission.hasFrontend(address))
  }

  /** Nothing that runs is touched. */
  #rehearse(given: unknown): Promise<Rehearsal> {
    const names = this.#clusters.map(({ name }) => name)
    const request = checkedRequest(given, [
      this.#config.cluster,
      ...names.filter(name => name !== this.#config.cluster),
    ])
    const { sinceMs } = request
    const all =
      sinceMs === undefined ? { last: '999999' } : { since: `${Math.min(999_999, Math.ceil(sinceMs / 1000))}s` }
    const past = request.flows ? [] : this.#recording.past(new URLSearchParams(all))
    if (typeof past === 'string') throw new MeshError('USAGE', past)
    const { flows: groups, names: answers = [] } = request
    const flows = groups ? { groups, names: answers } : groupFlows(past)
    const decide = (arePodsRead = true) =>
      rehearse(request, flows, {
        cluster: this.#config.cluster,
        directory: this.#mesh.directory,
        workloads: this.#workloads,
        plugins: this.#plugins,
        chain: this.#chain,
        host: this.#pluginHost(),
        arePodsRead,
      })
    return request.manifests ? this.#sources.withPods(decide) : decide()
  }

  #pluginHost(): HostParts {
    return {
      clusters: () => this.#clusters,
      location: () => this.#location,
      workloads: this.#workloads,
      clock: this.#clock,
      random: this.#random,
      log: this.#log,
    }
  }

  #locate(): void {
    this.#location = locationOf(this.#config, this.#env, this.#mesh.ownNode)
    this.#chain.forget()
    this.#proxy.reconsider()
  }

  #newBalancer(openFlows: OpenFlows): Balancer {
    return createBalancer(this.#config.proxy.balancer, { random: this.#random, openFlows })
  }

  #newHealth(): HealthMonitor {
    return new HealthMonitor({
      directory: this.#mesh.directory,
      options: healthOptions(this.#config),
      probes: {
        tcp: (options, clock) => this.#behindGateways(tcpProbe(options, clock), options.timeoutMs, clock),
        http: (options, clock) => this.#behindGateways(httpProbe(options, clock), options.timeoutMs, clock),
      },
      clock: this.#clock,
      random: this.#random,
      log: this.#log,
      onVerdict: destination => this.#mesh.healthChanged(destination),
      onUntested: destination => this.#mesh.healthChanged(destination),
      onSilent: destinations => {
        if (this.#config.health.active.cutOnTimeout) this.#proxy.lose(destinations)
      },
    })
  }

  #behindGateways(direct: Probe, timeoutMs: number, clock: Clock): Probe {
    return gatewayProbe(direct, () => this.#tunnelling.client, timeoutMs, clock)
  }

  #newProxy(): L4Proxy {
    const { engine, services, unlisted } = this.#config.proxy
    return new L4Proxy({
      directory: this.#mesh.directory,
      chooser: this.#chain,
      watching: service => this.#chain.watching(service),
      tunnels: this.#tunnelling.client,
      onHeard: ({ destination }) => this.#health.heard(destination),
      onMute: (flow, backend) => this.#health.mute(flow, backend),
      engine,
      threads: pumpsOf(this.#config),
      options: engineOptions(this.#config),
      reserve: {
        most: sumOf(descriptorShares()) + (this.#config.admin.metrics ? descriptorShares().admin : 0),
        held: () => this.#heldElsewhere(),
      },
      services,
      unlistedMs: unlisted,
      routes: this.#routes,
      rules: this.#rules,
      offload: offloadOptions(this.#config, () => this.#mesh.ownNode?.podCidrs ?? []),
      onListener: address => this.#admission.listenerMoved(address),
      clock: this.#clock,
      random: this.#random,
      log: this.#log,
      env: this.#env,
    })
  }

  /** The options of an underlay change with a restart alone. */
  #newUnderlay(): UnderlayKeeper | undefined {
    const { cluster, clusters, underlay } = this.#config
    const { mode } = underlay
    if (mode === 'none') return undefined
    const world = { clock: this.#clock, random: this.#random, log: this.#log, env: this.#env }
    const key = new NodeKey(clusters.find(({ name }) => name === cluster)?.source, world)
    return new UnderlayKeeper({
      ...{ cluster, options: underlayOptions(this.#config, mode), node: this.#location.node },
      ...{ clock: this.#clock, log: this.#log, key },
    })
  }

  #newNames(): NameService {
    return new NameService({
      directory: this.#mesh.directory,
      visibility: this.#chain,
      options: dnsOptions(this.#config),
      clock: this.#clock,
      random: this.#random,
      log: this.#log,
      watchFiles: (paths, changed) => watchFiles(() => paths, this.#clock, changed).stop,
      ...(this.#proxy.BatchSocket && { BatchSocket: this.#proxy.BatchSocket }),
      recorder: this.#recording.recorder,
      names: this.#workloads.names,
    })
  }

  #parts(): RunningParts {
    return {
      config: this.#config,
      clusterList: this.#clusterList,
      sources: this.#sources,
      store: this.#store,
      succession: this.#succession,
      started: this.#isReady,
      stopping: this.#isStopping,
      handedOver: this.#isHandedOver,
      admission: this.#admission,
      workloads: this.#workloads,
      mesh: this.#mesh,
      chain: this.#chain,
      health: this.#health,
      proxy: this.#proxy,
      names: this.#names,
      recording: this.#recording,
      certificates: this.#certificates,
      tunnelling: this.#tunnelling,
      underlay: this.#underlay,
      role: this.#role,
      writeBack: this.#writeBack,
      tokens: this.#tokens,
      publication: this.#publication,
    }
  }
}

function dnsAddress({ responder: { address } }: NameService): string | undefined {
  return address && endpointText(address.address, address.port)
}
