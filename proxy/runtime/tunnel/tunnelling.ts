/** Both ends of tunnels in this process: the ways to clusters behind gateways, and the gateway of the local cluster. */

import { isDeepStrictEqual } from 'node:util'
import type { Chain } from '../../chain/chain.ts'
import type { ClusterConfig, Config } from '../../config/schema.ts'
import type { Mesh } from '../../mesh/mesh.ts'
import { endpointText, type SocketAddress } from '../../model/address.ts'
import type { Problem } from '../../model/error.ts'
import type { GlobalService } from '../../model/service.ts'
import type { Inherited, PassedSocket, PassingCalls } from '../../model/sockets/passing.ts'
import type { ServerCarrier } from '../../model/tunnel/carrier.ts'
import type { ClusterIdentity } from '../../model/tunnel/identity.ts'
import type { ComponentView, GatewayView, TunnelView } from '../../model/views.ts'
import { Credentials, type CredentialsSource } from '../../tunnel/certificates/credentials.ts'
import { parseProxy } from '../../tunnel/client/http-proxy.ts'
import type { GatewayAddress } from '../../tunnel/client/link.ts'
import { TunnelClient } from '../../tunnel/client/tunnel-client.ts'
import { Issuer } from '../../tunnel/enrolment/issuer.ts'
import { Renewal } from '../../tunnel/enrolment/renewal.ts'
import type { GatewayOptions } from '../../tunnel/gateway/context.ts'
import { Gateway } from '../../tunnel/gateway/gateway.ts'
import { Offers } from '../../tunnel/gateway/offers.ts'
import type { RuntimeContext } from '../context.ts'
import { guarded, type LearnedGateways } from './learned-gateways.ts'
import { serviceNames } from './service-names.ts'

export interface TunnellingParts extends RuntimeContext {
  readonly config: Config
  readonly mesh: Mesh
  readonly chain: Chain
  readonly gateways: LearnedGateways
  /** Starts who carries the sessions of the gateway; called when that starts. */
  readonly carrier: () => ServerCarrier | undefined
  /** What the gateways of a cluster say of its backends has changed. */
  readonly onHealth: (cluster: string) => void
}

export class Tunnelling {
  readonly client: TunnelClient
  readonly #parts: TunnellingParts
  readonly #credentials: Credentials | undefined
  readonly #gatewayCredentials: Credentials | undefined
  readonly #offers: Offers | undefined
  readonly #gateway: Gateway | undefined
  readonly #issuer: Issuer | undefined
  #renewals: Renewal[] = []
  #clusters: readonly ClusterConfig[]
  #reports = new Set<string>()

  constructor(parts: TunnellingParts) {
    const { config, mesh, chain, clock, random, log } = parts
    this.#parts = parts
    this.#clusters = config.clusters
    const sources = credentialSources(config)
    const read = (from: CredentialsSource | undefined) =>
      from && new Credentials({ from, clusters: () => this.#names, clock, random, log })
    this.#credentials = read(sources.tunnel)
    const isOne = isDeepStrictEqual(sources.gateway, sources.tunnel)
    this.#gatewayCredentials = isOne ? this.#credentials : read(sources.gateway)
    this.client = new TunnelClient({
      credentials: this.#credentials,
      cluster: config.cluster,
      engine: config.tunnel.engine,
      clock,
      random,
      log,
      onHealth: cluster => this.#report(cluster),
      nameOf: serviceNames(mesh.directory),
    })
    if (!config.gateway || !this.#gatewayCredentials) return
    const isShared = ({ settings, namespace }: GlobalService) =>
      settings.global && settings.shared && mesh.isGlobalNamespace(namespace)
    this.#offers = new Offers(config.cluster, mesh.directory, isShared)
    const { authority } = config.gateway
    this.#issuer = authority === undefined ? undefined : new Issuer(authority, clock)
    this.#gateway = new Gateway({
      issuer: this.#issuer,
      listen: config.gateway.listen,
      credentials: this.#gatewayCredentials,
      peers: () => this.#identities(this.#gatewayCredentials),
      offers: this.#offers,
      chooser: chain,
      options: gatewayOptions(config),
      carrier: config.tunnel.engine === 'node' ? undefined : parts.carrier,
      clock,
      log,
    })
  }

  /** Reads the certificates. What is wrong with them is a problem in status. */
  async start(): Promise<void> {
    this.#credentials?.onChange(() => this.#followRoutes())
    await this.#credentials?.start()
    if (this.#gatewayCredentials !== this.#credentials) await this.#gatewayCredentials?.start()
    const { config, clock, random, log } = this.#parts
    const { tunnel, gateway } = credentialSources(config)
    const pairs = new Map([
      [folderOf(tunnel), this.#credentials],
      [folderOf(gateway), this.#gatewayCredentials],
    ])
    // A Workload API renews what it gives.
    for (const [folder, credentials] of pairs) {
      if (folder === undefined || !credentials) continue
      this.#renewals.push(new Renewal({ folder, credentials, issuer: this.#issuer, clock, random, log }))
    }
  }

  /** Serves other clusters from now on. */
  async serve(inherited: Inherited): Promise<void> {
    await this.#gateway?.start(inherited)
  }

  /** Gives the gateway's socket away; its sessions stay until they have drained. */
  pass(calls: PassingCalls): PassedSocket[] {
    return this.#gateway?.pass(calls) ?? []
  }

  async takeBack(inherited: Inherited): Promise<void> {
    await this.#gateway?.takeBack(inherited)
  }

  /** The clusters as they are now. */
  follow(clusters: readonly ClusterConfig[]): void {
    this.#clusters = clusters
    this.#followRoutes()
    // Roots of a cluster that is new.
    void this.#credentials?.rereadFor(this.#names)
    if (this.#gatewayCredentials !== this.#credentials) void this.#gatewayCredentials?.rereadFor(this.#names)
  }

  /** What clusters say of their gateways has changed. */
  gatewaysChanged(): void {
    if (this.#tunnelled().some(({ gateways }) => gateways.length === 0)) this.#followRoutes()
  }

  configure(config: Config): void {
    this.#gateway?.configure(gatewayOptions(config))
  }

  get gatewayAddress(): SocketAddress | undefined {
    return this.#gateway?.address
  }

  /** Undefined for a cluster that is reached without gateways. */
  tunnels(cluster: string): TunnelView[] | undefined {
    return this.client.views(cluster)
  }

  gatewayView(): GatewayView | undefined {
    return this.#gateway?.view()
  }

  /** Why the gateway does not serve; undefined if it does. */
  get gatewayFailure(): string[] | undefined {
    const failure = this.#gateway?.failure
    if (failure) return [`gateway: ${failure.message}`]
    return this.#gateway?.address ? undefined : ['gateway']
  }

  problems(): Problem[] {
    const failure = this.#gateway?.failure
    const listen = this.#parts.config.gateway?.listen
    const where = listen ? endpointText(listen.address, listen.port) : ''
    return [
      ...(this.#credentials?.problems() ?? []),
      ...(this.#gatewayCredentials === this.#credentials ? [] : (this.#gatewayCredentials?.problems() ?? [])),
      ...(failure ? [{ code: failure.code, where, message: failure.message }] : []),
      ...this.#renewals.flatMap(renewal => renewal.problems()),
      ...this.client.problems(),
      ...this.#tunnelled()
        .filter(({ name, gateways }) => gateways.length === 0 && this.#parts.gateways.of(name).length === 0)
        .map(({ name }) => ({ code: 'TUNNEL' as const, where: name, message: noGateway })),
    ]
  }

  components(): ComponentView[] {
    const ways = this.#tunnelled().map(({ name }) => ({ name, tunnels: this.client.views(name) ?? [] }))
    const open = ways.filter(({ tunnels }) => tunnels.some(({ state }) => state === 'open'))
    const away = ways.filter(way => !open.includes(way)).map(({ name }) => name)
    const detail = [
      `${open.length}/${ways.length} clusters reached`,
      away.length > 0 ? `not: ${away.join(', ')}` : [],
    ].flat()
    const state = away.length === 0 ? 'ok' : open.length === 0 ? 'error' : 'warning'
    return [
      ...(ways.length === 0
        ? []
        : [{ name: 'Tunnels' as const, state: state as ComponentView['state'], detail: detail.join('; ') }]),
      ...(this.#gateway ? [gatewayComponent(this.#gateway.view())] : []),
    ]
  }

  /** Other clusters are told, and their streams drain; the ways to them stay until {@link destroy}. */
  async close(): Promise<void> {
    this.client.close()
    await this.#gateway?.close()
  }

  destroy(): void {
    for (const renewal of this.#renewals) renewal.close()
    this.#gateway?.destroy()
    this.#offers?.close()
    this.client.destroy()
    this.#credentials?.close()
    this.#gatewayCredentials?.close()
  }

  get #names(): string[] {
    return this.#clusters.map(({ name }) => name)
  }

  #tunnelled(): ClusterConfig[] {
    return this.#clusters.filter(({ name, route }) => route === 'tunnel' && name !== this.#parts.config.cluster)
  }

  #followRoutes(): void {
    const identities = new Map(this.#identities(this.#credentials).map(one => [one.cluster, one]))
    this.client.follow(
      this.#tunnelled().flatMap(({ name, gateways }) => {
        const identity = identities.get(name)
        const known = gateways.length > 0 ? gateways : this.#learned(name)
        return identity ? [{ identity, gateways: reachedBy(this.#parts.config, known) }] : []
      }),
    )
  }

  /** Those that the cluster names itself. */
  #learned(name: string): GatewayAddress[] {
    const found = this.#clusters.find(cluster => cluster.name === name)
    const loopback = found?.allow.loopback ?? (found !== undefined && 'manifests' in found.source)
    return this.#parts.gateways.of(name).map(gateway => guarded(gateway, loopback))
  }

  /** The other clusters; one that names no trust domain is in that of the own certificate. */
  #identities(credentials: Credentials | undefined): ClusterIdentity[] {
    const own = credentials?.material?.id.trustDomain ?? ''
    return this.#clusters
      .filter(({ name }) => name !== this.#parts.config.cluster)
      .map(({ name, trustDomain = own, identities, hbone, workloads }) => ({
        cluster: name,
        trustDomain,
        ids: identities,
        ...(hbone === 'double' && { workloads }),
      }))
  }

  /** At most once in a turn of the event loop for each cluster. */
  #report(cluster: string): void {
    if (this.#reports.size === 0) {
      setImmediate(() => {
        const clusters = this.#reports
        this.#reports = new Set()
        for (const each of clusters) this.#parts.onHealth(each)
      })
    }
    this.#reports.add(cluster)
  }
}

const noGateway =
  'its source names no gateway; give some in `gateways`, or label a Service of type LoadBalancer with starlane.dev/gateway: "true"'

/** The gateways with the way to them. */
export function reachedBy({ tunnel }: Pick<Config, 'tunnel'>, gateways: readonly GatewayAddress[]): GatewayAddress[] {
  const proxy = tunnel.proxy === undefined ? undefined : parseProxy(tunnel.proxy)
  return proxy ? gateways.map(gateway => ({ ...gateway, proxy })) : [...gateways]
}

/** Each end uses the other's certificates if it has none of its own. */
export function credentialSources({ tunnel, gateway }: Pick<Config, 'tunnel' | 'gateway'>): {
  readonly tunnel: CredentialsSource | undefined
  readonly gateway: CredentialsSource | undefined
} {
  const own = sourceOf(tunnel)
  const other = gateway && sourceOf(gateway)
  return { tunnel: own ?? other, gateway: gateway && (other ?? own) }
}

type CredentialFields = Pick<Config['tunnel'], 'certificates' | 'workloadApi' | 'spiffeId'>

function sourceOf({ certificates, workloadApi, spiffeId: id }: CredentialFields): CredentialsSource | undefined {
  if (workloadApi !== undefined) return { workloadApi, ...(id === undefined ? {} : { id }) }
  return certificates === undefined ? undefined : { folder: certificates }
}

function folderOf(source: CredentialsSource | undefined): string | undefined {
  return source && 'folder' in source ? source.folder : undefined
}

export function gatewayOptions({ proxy, gateway }: Config): GatewayOptions {
  const { dial, idle, drain } = proxy
  return Object.freeze({
    dial: { timeoutMs: dial.timeout, attempts: dial.attempts },
    idle: { tcpMs: idle.tcp, halfClosedMs: idle.halfClosed, udpMs: idle.udp },
    drainMs: drain,
    limits: gateway?.limits ?? { sessions: 1, streams: 1 },
  })
}

function gatewayComponent({ address, error, sessions, streams, clusters }: GatewayView): ComponentView {
  if (address === undefined) return { name: 'Gateway', state: 'error', detail: error ?? 'not listening yet' }
  const peers =
    clusters.length === 0 ? 'no cluster connected' : `from ${clusters.map(({ cluster }) => cluster).join(', ')}`
  const detail = `${address}, ${sessions} session${sessions === 1 ? '' : 's'} ${peers}, ${streams} stream${streams === 1 ? '' : 's'}`
  return { name: 'Gateway', state: 'ok', detail }
}
