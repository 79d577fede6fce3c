/** The ways to all clusters that are reached through gateways. The engines dial through it, as they dial sockets. */
import { isDeepStrictEqual } from 'node:util'
import { endpointText } from '../../model/address.ts'
import type { Backend } from '../../model/backend.ts'
import type { Problem } from '../../model/error.ts'
import type { Client } from '../../model/flow.ts'
import type { Log } from '../../model/log.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import type { Carrier } from '../../model/tunnel/carrier.ts'
import type { ClusterIdentity } from '../../model/tunnel/identity.ts'
import type { DatagramEvents, Dialled, TunnelDatagrams, Tunnels } from '../../model/tunnel/tunnels.ts'
import type { TunnelView } from '../../model/views.ts'
import type { Credentials } from '../certificates/credentials.ts'
import { forwardedText } from '../wire/forwarded.ts'
import type { ToldHealth } from '../wire/health-lines.ts'
import { udpPath } from '../wire/target.ts'
import { DatagramStream } from './datagrams.ts'
import { HealthFollower } from './health-reader.ts'
import { openInner } from './inner.ts'
import type { GatewayAddress } from './link.ts'
import { type Asking, Route } from './route.ts'

/** One cluster that is reached through gateways. */
export interface TunnelledCluster {
  readonly identity: ClusterIdentity
  readonly gateways: readonly GatewayAddress[]
}

export interface TunnelClientParts {
  /** Undefined: none are configured, and no gateway can be used. */
  readonly credentials: Credentials | undefined
  /** The local cluster, for what it tells of itself. */
  readonly cluster: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** `node`: an engine that could carry tunnels does not; `auto` unless given. */
  readonly engine?: 'auto' | 'node'
  /** What a gateway says of a cluster's backends, or what follows from there being no way to it. */
  readonly onHealth: (cluster: string) => void
  /** `NAME.NAMESPACE.svc.cluster.local:PORT` of a service that has the backend, which gateways of Istio ask for in double HBONE. */
  readonly nameOf?: (cluster: string, address: string, port: number) => string | undefined
}

interface Way {
  given: TunnelledCluster
  readonly route: Route
  readonly follower: HealthFollower
  /** Undefined while no gateway tells. */
  told: Map<string, ToldHealth> | undefined
  /** False for a gateway that cannot tell, such as a ztunnel. */
  canTell: boolean
}

export class TunnelClient implements Tunnels {
  readonly #parts: TunnelClientParts
  #ways: ReadonlyMap<string, Way> = new Map()
  #leaving: Route[] = []
  #carrier: Carrier | undefined

  constructor(parts: TunnelClientParts) {
    this.#parts = parts
  }

  /** These clusters from now on. Ways that stay as they are keep their tunnels; flows of the others go on to their end. */
  follow(clusters: readonly TunnelledCluster[]): void {
    const ways = new Map<string, Way>()
    if (!this.#parts.credentials) return
    for (const given of clusters) {
      const known = this.#ways.get(given.identity.cluster)
      const isKnown = known !== undefined && isDeepStrictEqual(known.given.identity, given.identity)
      const way = isKnown ? known : this.#open(given, this.#parts.credentials)
      if (isKnown && !isDeepStrictEqual(way.given.gateways, given.gateways)) {
        way.given = given
        way.route.setGateways(given.gateways)
        this.#parts.onHealth(given.identity.cluster)
      }
      ways.set(given.identity.cluster, way)
    }
    const kept = new Set(ways.values())
    // Flows of those that have gone go on to their end.
    this.#leaving = this.#leaving.filter(({ streams }) => streams > 0)
    for (const way of this.#ways.values()) {
      if (kept.has(way)) continue
      closeWay(way)
      this.#leaving.push(way.route)
    }
    this.#ways = ways
  }

  /** Tunnels that are open stay with who carries them. */
  carryBy(carrier: Carrier | undefined): void {
    if (this.#parts.engine !== 'node') this.#carrier = carrier
  }

  carries({ cluster }: Backend): boolean {
    return this.#ways.has(cluster)
  }

  dial({ cluster, address, port }: Backend, client: Client, done: Dialled): () => void {
    return this.dialTo(cluster, address, port, client, done)
  }

  /** As {@link dial}. */
  dialTo(cluster: string, address: string, port: number, client: Client, done: Dialled): () => void {
    const way = this.#ways.get(cluster)
    if (!way) return failLater(done, cluster)
    const { identity } = way.given
    const named = identity.workloads ? this.#parts.nameOf?.(cluster, address, port) : undefined
    const headersOf = (localAddress: string | undefined) => ({
      ':method': 'CONNECT',
      ':authority': named ?? endpointText(address, port),
      forwarded: forwardedText(client, localAddress),
      baggage: this.#baggage,
    })
    const asking: Asking = {
      answered: stream => done(undefined, stream.connection()),
      failed: error => done(error, undefined),
    }
    const { credentials, clock } = this.#parts
    if (!identity.workloads || !credentials) return way.route.request(headersOf, asking)
    let localAddress: string | undefined
    const noted = (address: string | undefined) => {
      localAddress = address
      return headersOf(address)
    }
    let giveUp = way.route.request(noted, {
      answered: outer => {
        const headers = { ...headersOf(localAddress), 'x-istio-origin-network': this.#parts.cluster }
        giveUp = openInner(outer.bytes(), { identity, credentials, clock, headers, localAddress }, asking)
      },
      failed: asking.failed,
    })
    return () => giveUp()
  }

  link(backend: Backend, client: Client, events: DatagramEvents): TunnelDatagrams {
    const route = this.#ways.get(backend.cluster)?.route
    return new DatagramStream(events, link => {
      if (!route) return failLater(error => link.failed(error as Error), backend.cluster)
      const headersOf = (localAddress: string | undefined) => ({
        ':method': 'CONNECT',
        ':protocol': 'connect-udp',
        ':scheme': 'https',
        ':authority': backend.cluster,
        ':path': udpPath(backend.address, backend.port),
        'capsule-protocol': '?1',
        forwarded: forwardedText(client, localAddress),
        baggage: this.#baggage,
      })
      return route.request(headersOf, {
        answered: stream => link.answered(stream.bytes()),
        failed: error => link.failed(error),
      })
    })
  }

  /**
   * What the gateways say of a backend: its health as its own cluster has checked it, `unreachable` if there is no way to a gateway,
   * undefined while that is not known or where the gateway does not tell.
   */
  healthOf(cluster: string, address: string, port: number, protocol: string): ToldHealth | 'unreachable' | undefined {
    const way = this.#ways.get(cluster)
    if (!way) return undefined
    if (!way.route.isOpen && way.route.failure !== undefined) return 'unreachable'
    return way.told && (way.told.get(`${endpointText(address, port)}/${protocol}`) ?? 'gone')
  }

  /** Why no gateway of the cluster can be reached. */
  failureOf(cluster: string): string | undefined {
    return this.#ways.get(cluster)?.route.failure
  }

  /** The ways to a cluster's gateways; undefined for one that is reached otherwise. */
  views(cluster: string): TunnelView[] | undefined {
    return this.#ways.get(cluster)?.route.views()
  }

  problems(): Problem[] {
    return [...this.#ways].flatMap(([cluster, { route }]) =>
      route
        .views()
        .filter(({ state, error }) => state === 'lost' && error !== undefined)
        .map(({ gateway, error }) => ({
          code: 'TUNNEL' as const,
          where: `${cluster} ${gateway}`,
          message: `the gateway cannot be used: ${error}`,
        })),
    )
  }

  /** No new streams; those in progress go on in their tunnels until {@link destroy}. */
  close(): void {
    for (const way of this.#ways.values()) way.follower.close()
  }

  destroy(): void {
    for (const { follower, route } of this.#ways.values()) {
      follower.close()
      route.destroy()
    }
    for (const route of this.#leaving) route.destroy()
    this.#leaving = []
    this.#ways = new Map()
  }

  get #baggage(): string {
    return `k8s.cluster.name=${this.#parts.cluster}`
  }

  #open(given: TunnelledCluster, credentials: Credentials): Way {
    const { clock, random, log, onHealth, cluster: own } = this.#parts
    const { identity, gateways } = given
    const { cluster } = identity
    const report = () => onHealth(cluster)
    const route = new Route({
      identity,
      gateways,
      credentials,
      carrier: () => this.#carrier,
      clock,
      random,
      log,
      inUse: () => this.#streams,
      changed: report,
    })
    const follower = new HealthFollower(route, own, clock, {
      told: (line, isWhole) => {
        way.canTell = true
        way.told = isWhole ? new Map(line) : merged(way.told ?? new Map(), line)
        report()
      },
      silent: canTell => {
        way.canTell = canTell
        // What was told last stands while another gateway is asked: the backends are not worse for it.
        if (!canTell) way.told = undefined
        report()
      },
    })
    const way: Way = { given, route, follower, told: undefined, canTell: true }
    return way
  }

  get #streams(): number {
    let streams = 0
    for (const { route } of this.#ways.values()) streams += route.streams
    return streams
  }
}

function closeWay({ follower, route }: Way): void {
  follower.close()
  route.leave()
}

function merged(told: Map<string, ToldHealth>, line: ReadonlyMap<string, ToldHealth>): Map<string, ToldHealth> {
  for (const [endpoint, health] of line) {
    if (health === 'gone') told.delete(endpoint)
    else told.set(endpoint, health)
  }
  return told
}

/** The cluster has left the configuration since the backend was chosen. */
function failLater(done: Dialled, cluster: string): () => void {
  let isGivenUp = false
  const error = Object.assign(new Error(`${cluster} is no longer reached through gateways`), { code: 'ENETUNREACH' })
  queueMicrotask(() => {
    if (!isGivenUp) done(error, undefined)
  })
  return () => {
    isGivenUp = true
  }
}
