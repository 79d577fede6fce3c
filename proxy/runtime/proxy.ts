/** The L4 proxy: an engine and the listeners that feed it. A reload gives it other options; its sockets and flows stay. */
import type { Cut, DescriptorReserve, Engine, EngineOptions, EngineParts } from '../dataplane/engine.ts'
import { createEngine } from '../dataplane/engines.ts'
import { Exposure } from '../dataplane/frontends/exposure.ts'
import { Listeners } from '../dataplane/frontends/listeners.ts'
import type { LocalRoutes } from '../dataplane/frontends/local-routes.ts'
import type { PacketRules } from '../dataplane/frontends/packet-rules.ts'
import { type DirectParts, givenUp, wayOf } from '../dataplane/steering/direct.ts'
import { forOwnClients, OwnClients } from '../dataplane/steering/own-clients.ts'
import { Steering, type SteeringOptions } from '../dataplane/steering/steering.ts'
import { type Cidr, isLoopback } from '../model/address.ts'
import type { Backend } from '../model/backend.ts'
import { type Change, changeOf, type Directory } from '../model/directory.ts'
import { messageOf, type Problem } from '../model/error.ts'
import type { Chooser } from '../model/flow.ts'
import type { Log } from '../model/log.ts'
import type { Frontend, GlobalService } from '../model/service.ts'
import type { BatchSocketClass } from '../model/sockets/batch-socket.ts'
import type { Inherited, PassedSocket, PassingCalls } from '../model/sockets/passing.ts'
import type { EngineStats } from '../model/stats/engine.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import type { ServerCarrier } from '../model/tunnel/carrier.ts'
import type { Tunnels } from '../model/tunnel/tunnels.ts'
import { machineAddresses } from './own-sockets.ts'

export interface OffloadOptions extends SteeringOptions {
  /** Clients beside this machine and the pods of its node. */
  readonly clients: readonly Cidr[]
  readonly ownPods: () => readonly string[]
}

export interface L4ProxyParts {
  readonly directory: Directory
  readonly chooser: Chooser
  /** The names of the plugins that have to see each flow of a service. */
  readonly watching: (service: GlobalService) => readonly string[]
  /** A flow has got bytes from its backend. */
  readonly onHeard: (backend: Backend) => void
  /** The client of a flow has asked, and its backend has sent no byte for too long. */
  readonly onMute: NonNullable<EngineParts['onMute']>
  /** Dials backends behind gateways. */
  readonly tunnels: Tunnels
  readonly engine: 'auto' | 'streams' | 'native'
  /** Pumps of the engine native. */
  readonly threads: number
  readonly options: EngineOptions
  readonly reserve: DescriptorReserve
  readonly services: 'global' | 'all'
  /** As in `ListenersParts`. */
  readonly unlistedMs: number
  /** Makes ClusterIPs local, with `proxy.anyip`. */
  readonly routes: LocalRoutes | undefined
  /** With `proxy.nftables`. */
  readonly rules: PacketRules | undefined
  /** With `proxy.offload`. */
  readonly offload: OffloadOptions | undefined
  /** A listener has come to an address that is no frontend's, or gone (`offload`). */
  readonly onListener: (address: string) => void
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly env: Readonly<Record<string, string | undefined>>
}

export class L4Proxy {
  /** Class of the native addon's batch sockets, for DNS; undefined with `streams`. */
  readonly BatchSocket: BatchSocketClass | undefined
  /** What passing sockets needs; undefined without the addon. */
  readonly calls: PassingCalls | undefined
  /** Starts a pump for the sessions of a gateway; undefined with `streams`. */
  readonly serverCarrier: (() => ServerCarrier | undefined) | undefined
  /** Gives back what only the start needed; undefined without the addon. Resolves with bytes. */
  readonly releaseProgramPages: (() => Promise<number>) | undefined
  readonly #engine: Engine
  readonly #whyNotNative: string | undefined
  /** Pumps of the engine native; otherwise 1. */
  readonly pumps: number
  readonly #listeners: Listeners
  readonly #directory: Directory
  readonly #log: Log
  readonly #routes: LocalRoutes | undefined
  readonly #rules: PacketRules | undefined
  readonly #steering: Steering | undefined
  readonly #exposure: Exposure
  readonly #services: 'global' | 'all'
  readonly #ways: DirectParts
  readonly #direct: boolean
  #drainMs: number
  readonly #unwatch: () => void
  readonly #unroute: () => void
  /** The packet rules of a predecessor stay until all its sockets are open here. */
  #isTakingOver = false

  constructor(parts: L4ProxyParts) {
    const { directory, services, unlistedMs, clock, log, routes, rules } = parts
    this.#directory = directory
    this.#direct = parts.offload?.direct ?? false
    this.#log = log
    const { engine, whyNotNative, BatchSocket, calls, kernel, releaseProgramPages, serverCarrier } = createEngine(
      parts.engine,
      { ...parts, chooser: chooserOf(parts) },
      parts.env,
    )
    this.calls = calls
    this.serverCarrier = serverCarrier
    this.releaseProgramPages = releaseProgramPages
    this.#engine = engine
    this.#whyNotNative = whyNotNative
    this.pumps = engine.name === 'native' ? parts.threads : 1
    this.BatchSocket = BatchSocket
    this.#routes = routes
    this.#rules = rules
    this.#unwatch = routes ? directory.onChange(change => this.#dropRoutes(change)) : () => {}
    const prepare = routes && {
      prepare: (ips: readonly string[]) => routes.add(ips),
      release: (ips: readonly string[]) => routes.remove(ips),
    }
    this.#steering =
      parts.offload &&
      new Steering({
        ...{ options: parts.offload, kernel, drainMs: () => this.#drainMs },
        ...{ onListener: parts.onListener, clock, log },
      })
    this.#drainMs = parts.options.drainMs
    this.#services = services
    this.#ways = {
      chooser: parts.chooser,
      watching: parts.watching,
      pods: !parts.offload?.listen.some(isLoopback),
    }
    this.#unroute = parts.offload?.direct ? directory.onChange(change => this.#reroute(change)) : () => {}
    this.#listeners = new Listeners({
      directory,
      engine: this.#engine,
      services,
      unlistedMs,
      clock,
      log,
      redirects: () => rules?.redirects ?? false,
      steer: this.#steering,
      onRetire: backends => this.#steering?.retire(backends),
      onChange: () => {
        if (!this.#isTakingOver) void rules?.changed()
        this.#exposure.lookSoon()
      },
      ...prepare,
    })
    this.#exposure = new Exposure({
      closed: () => this.#listeners.closed(),
      guarded: () => rules?.active ?? this.#steering?.active ?? false,
      anyip: routes !== undefined,
      clock,
    })
  }

  /** The engine's name; if `auto` could not load the native one, also why. */
  get engine(): string {
    return this.#whyNotNative === undefined
      ? this.#engine.name
      : `${this.#engine.name} (not native: ${this.#whyNotNative})`
  }

  /** Keys of the frontends that listen now. */
  get openFrontends(): string[] {
    return this.#listeners.listening().map(({ key }) => key)
  }

  get listening(): number {
    return this.#listeners.open
  }

  /** Other options from now on. */
  configure(options: EngineOptions, unlistedMs: number): void {
    this.#engine.configure(options)
    this.#drainMs = options.drainMs
    this.#listeners.setUnlisted(unlistedMs)
  }

  stats(): EngineStats & { readonly listeners: number } {
    return { ...this.#engine.stats(), listeners: this.listening }
  }

  /** Frontends whose address cannot be bound. */
  failures(): Problem[] {
    return this.#listeners.failures()
  }

  /** Nothing answers the checks of these destinations any more. */
  lose(destinations: readonly string[]): void {
    this.#engine.lose(destinations)
    this.#steering?.lose(destinations)
  }

  /** Whether the frontend is closed on purpose, since it has no backend that could be chosen. */
  isRefusing(frontendKey: string): boolean {
    return this.#listeners.isRefusing(frontendKey)
  }

  get refusing(): number {
    return this.#listeners.refusing().length
  }

  /** Backends that lead back here through another proxy. */
  rings(): Problem[] {
    return this.#engine.rings().map(({ backend, client, service, frontend }) => ({
      code: 'LOOP',
      where: `${backend.cluster} ${service}`,
      message: `flows to ${backend.key} come back to ${frontend} from ${client}: the address is a frontend of another proxy, which has this one as a backend. Flows from ${client} do not get it for 5 minutes; list the addresses of pods in ${backend.cluster} instead`,
    }))
  }

  /** What other sockets of this machine can do on the frontends' addresses, and why packet rules do not prevent it. */
  exposures(): readonly Problem[] {
    return [...(this.#rules?.problems() ?? []), ...this.#exposure.problems()]
  }

  /** Undefined unless it is configured. */
  get steering(): Steering | undefined {
    return this.#steering
  }

  /**
   * Resolves when each frontend has been tried once, and clients are redirected to those that are open. `succeeds`: sockets,
   * routes and rules of a predecessor are taken over.
   */
  async start(inherited: Inherited, succeeds: { readonly rules: boolean } | undefined): Promise<void> {
    if (succeeds) this.#routes?.succeed()
    this.#isTakingOver = succeeds !== undefined
    await this.#steering?.start()
    this.reconsider()
    await this.#rules?.start(succeeds?.rules)
    this.#rules?.follow(() => this.#listeners.ruleInput())
    await this.#listeners.start(inherited)
    this.#isTakingOver = false
    this.#steering?.removeLeftovers()
    // Of services that vanished while no Starlane ran.
    await this.#routes
      ?.removeLeftovers()
      .catch(error => this.#log.warn('routes.remove-failed', { why: messageOf(error) }))
    await this.#rules?.changed()
    await this.#exposure.start()
  }

  /** Whether the packet rules stand. */
  get hasRules(): boolean {
    return this.#rules?.active ?? false
  }

  /** Gives the sockets of all frontends away. Connections in progress stay. */
  async pass(): Promise<PassedSocket[]> {
    await Promise.all([this.#rules?.release(), this.#steering?.release()])
    return this.#listeners.pass()
  }

  /** The successor has failed. */
  async takeBack(inherited: Inherited): Promise<void> {
    await this.#listeners.takeBack(inherited)
    await Promise.all([this.#rules?.reclaim(), this.#steering?.reclaim()])
  }

  /** The successor serves. */
  abandon(): void {
    this.#steering?.abandon()
  }

  /** Accepts nothing more; flows in progress may go on for the drain time. Resolves with how many were cut at its end. `isKept`: see `Engine.close`. */
  async close({ isKept = false } = {}): Promise<Cut> {
    this.#unwatch()
    this.#unroute()
    this.#exposure.close()
    this.#listeners.stop()
    const cut = await this.#engine.close({ isKept })
    // Before its entries go one by one: what is pinned is removed at once, or is a successor's.
    this.#steering?.close()
    await this.#listeners.close()
    return cut
  }

  destroy(): void {
    this.#engine.destroy()
  }

  /** Something outside the services has changed that decisions depend on: which frontends may be led to their backends. */
  reconsider(): void {
    if (!this.#direct) return
    this.#reroute([...this.#directory.services()].map(after => changeOf(after.key, undefined, after)))
  }

  /** Where clients of a frontend are led, for people; undefined where nobody leads them. */
  wayText(frontend: Frontend, service: GlobalService): string | undefined {
    if (!this.#steering?.active) return undefined
    if (!this.#direct) return 'the kernel leads clients to Starlane'
    const { why } = wayOf(frontend, service, this.#ways)
    return why === undefined
      ? `the kernel leads clients straight to these backends: ${givenUp}`
      : `the kernel leads clients to Starlane, not straight to backends: ${why}`
  }

  /** Before the listeners follow: those who are cut from a backend that has left must not be led to it again. */
  #reroute(change: Change): void {
    const steering = this.#steering
    if (!steering) return
    const routed = new Set<string>()
    for (const { after } of change) {
      if (!after || (this.#services === 'global' && !after.settings.global)) continue
      for (const frontend of after.frontends) {
        routed.add(frontend.key)
        steering.route(frontend.key, wayOf(frontend, after, this.#ways).backends)
      }
    }
    for (const { before } of change) {
      for (const { key } of before?.frontends ?? []) if (!routed.has(key)) steering.route(key, undefined)
    }
  }

  /** Removes the route of an address when its last frontend is gone. */
  #dropRoutes(change: Change): void {
    const gone = new Set(change.flatMap(({ before }) => before?.frontends.map(({ ip }) => ip) ?? []))
    for (const { after } of change) for (const { ip } of after?.frontends ?? []) gone.delete(ip)
    if (gone.size === 0) return
    for (const { frontends } of this.#directory.services()) for (const { ip } of frontends) gone.delete(ip)
    if (gone.size > 0)
      this.#routes?.remove([...gone]).catch(error => this.#log.warn('routes.remove-failed', { why: messageOf(error) }))
  }
}

/** Others could connect to listeners on an address of the node. */
function chooserOf({ chooser, offload, clock }: L4ProxyParts): Chooser {
  if (!offload || offload.listen.every(isLoopback)) return chooser
  const { clients: more, ownPods: pods } = offload
  return forOwnClients(chooser, new OwnClients({ machine: machineAddresses, pods, more, clock }))
}
