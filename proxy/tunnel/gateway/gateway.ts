/**
 * The gateway of a cluster: serves the backends of its shared services to other clusters, over HTTP/2 and mutual TLS 1.3. Who
 * asks is what the certificate says; what is served is what the directory says and the chain allows.
 */

import { constants } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { endpointText, type SocketAddress } from '../../model/address.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import type { Chooser } from '../../model/flow.ts'
import type { Log } from '../../model/log.ts'
import { descriptorOf, Inherited, type PassedSocket, type PassingCalls } from '../../model/sockets/passing.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { ServerCarrier } from '../../model/tunnel/carrier.ts'
import { type ClusterIdentity, clusterOf } from '../../model/tunnel/identity.ts'
import type { GatewayView } from '../../model/views.ts'
import type { Credentials } from '../certificates/credentials.ts'
import { type Examined, examine, examineAgain } from '../certificates/examine.ts'
import { keepsRoots } from '../certificates/material.ts'
import { Doorway } from '../enrolment/doorway.ts'
import type { Issuer } from '../enrolment/issuer.ts'
import { CarriedDoor } from '../server/carried-door.ts'
import type { Arrival, Door } from '../server/door.ts'
import { NodeDoor } from '../server/node-door.ts'
import type { GatewayContext, GatewayOptions } from './context.ts'
import { FairLimit, type Held } from './fair-limit.ts'
import type { Offers } from './offers.ts'
import { Peer } from './peer.ts'

export interface GatewayParts {
  readonly listen: SocketAddress
  readonly credentials: Credentials
  /** The clusters that may come, as they are now. */
  readonly peers: () => readonly ClusterIdentity[]
  readonly offers: Offers
  /** Issues certificates; undefined where this gateway does not have the authority. */
  readonly issuer?: Issuer | undefined
  readonly chooser: Chooser
  readonly options: GatewayOptions
  /** Makes who carries its sessions, when it starts; undefined, or none made: node:http2. */
  readonly carrier?: (() => ServerCarrier | undefined) | undefined
  readonly clock: Clock
  readonly log: Log
}

/** Flows of the engine count from 1; those of the gateway from here. */
const firstId = 2 ** 40
/** TLS connections beyond the limit of sessions, for those who have not shown a certificate yet. */
const unproven = 256
/** Refusals of one peer for one reason: at most one log line in this time. */
const quietMs = 10_000
const maxQuiet = 1000
/** The name by which the socket is passed to another process. */
const socketName = 'gateway/TCP'

/** Clients that may wait to be accepted. */
const backlog = 1024

export class Gateway implements GatewayContext {
  options: GatewayOptions
  readonly chooser: Chooser
  readonly offers: Offers
  readonly issuer: Issuer | undefined
  readonly clock: Clock
  readonly log: Log
  readonly streams = new FairLimit<Held>(() => this.options.limits.streams)
  draining = false
  readonly #parts: GatewayParts
  readonly #peers = new FairLimit<PeerEntry>(() => this.options.limits.sessions)
  readonly #sessions = new Set<PeerEntry>()
  readonly #refusals = new Map<string, { readonly at: number; times: number }>()
  readonly #doorway: Doorway | undefined
  #door: Door | undefined
  #carrier: ServerCarrier | undefined
  #inherited = new Inherited()
  #lastId = firstId
  #stopTicking: () => void = () => {}
  #unwatch: () => void = () => {}
  #failure: MeshError | undefined
  #refused = 0
  #whenEmpty: (() => void) | undefined

  constructor(parts: GatewayParts) {
    this.#parts = parts
    this.options = parts.options
    this.chooser = parts.chooser
    this.offers = parts.offers
    this.issuer = parts.issuer
    this.clock = parts.clock
    this.log = parts.log
    this.#doorway = parts.issuer && new Doorway(parts.issuer, parts.clock, parts.log)
  }

  nextId(): number {
    return ++this.#lastId
  }

  /** Where it listens; undefined before and after. */
  get address(): SocketAddress | undefined {
    const at = this.#door?.server.address() as AddressInfo | null | undefined
    return at ? { address: at.address, port: at.port } : undefined
  }

  get failure(): MeshError | undefined {
    return this.#failure
  }

  /** Listens. Without a usable certificate it does so as soon as there is one. Does not reject: see {@link failure}. */
  async start(inherited = new Inherited()): Promise<void> {
    this.#carrier = this.#parts.carrier?.()
    const { credentials } = this.#parts
    this.#inherited = inherited
    this.#unwatch = credentials.onChange(() => void this.#rotated())
    this.#stopTicking = this.clock.every(1000, () => this.#tick())
    if (credentials.material) await this.#listen()
    else this.#failure = new MeshError('CERTIFICATE', 'the gateway has no usable certificate yet, and does not listen')
  }

  /** Gives the socket away; sessions in progress stay. */
  pass(calls: PassingCalls): PassedSocket[] {
    const { address } = this
    const server = this.#door?.server
    const descriptor = server ? calls.duplicate(descriptorOf(server) ?? -1) : -1
    if (!address || descriptor < 0) return []
    server?.close()
    return [{ name: socketName, ...address, descriptor, sessions: [] }]
  }

  /** The successor has failed: goes on with the socket, if it had one. */
  async takeBack(inherited: Inherited): Promise<void> {
    this.#inherited = inherited
    if (this.#door && !this.#door.server.listening) await this.#listen()
  }

  configure(options: GatewayOptions): void {
    this.options = options
  }

  view(): GatewayView {
    const { address } = this
    const clusters = Map.groupBy(this.#sessions, ({ peer }) => peer.client.identity.cluster)
    return {
      ...(address ? { address: endpointText(address.address, address.port) } : {}),
      ...(this.#failure ? { error: this.#failure.message } : {}),
      sessions: this.#sessions.size,
      streams: this.streams.size,
      refused: this.#refused,
      clusters: [...clusters].map(([cluster, sessions]) => ({
        cluster,
        sessions: sessions.length,
        streams: this.streams.of(cluster),
      })),
    }
  }

  /** Accepts nothing new, tells the peers, and lets streams in progress end within the drain time. */
  async close(): Promise<void> {
    this.draining = true
    this.#door?.server.close()
    for (const { peer } of this.#sessions) peer.leave()
    const over = Promise.withResolvers<void>()
    const cancel = this.clock.after(this.options.drainMs, () => {
      this.#cutAll()
      over.resolve()
    })
    // Whoever is in the middle of the handshake learns that it is to go elsewhere, as those that are in.
    await Promise.race([this.#door?.settled(), over.promise])
    if (this.#sessions.size > 0) {
      const empty = Promise.withResolvers<void>()
      this.#whenEmpty = empty.resolve
      await empty.promise
    }
    cancel()
    this.destroy()
  }

  /** Cuts everything now. */
  destroy(): void {
    this.draining = true
    this.#stopTicking()
    this.#unwatch()
    this.#door?.server.close()
    this.#door?.close()
    this.#door = undefined
    this.#cutAll()
    this.#carrier?.close()
  }

  #cutAll(): void {
    this.#doorway?.destroy()
    for (const { peer } of [...this.#sessions]) peer.cut('shutdown')
  }

  async #listen(): Promise<void> {
    const { listen } = this.#parts
    try {
      // That of a process whose successor has failed is opened again.
      const door = this.#door ?? this.#newDoor()
      const { server } = door
      // Whoever has not shown a certificate yet counts too, and has a few seconds to do so.
      server.maxConnections = this.options.limits.sessions + unproven
      this.#door = door
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        const passed = this.#inherited.take(socketName, listen)
        const place = passed ? { fd: passed.descriptor } : { host: listen.address, port: listen.port }
        // As an argument of its own: node:net does not take that of a descriptor from the options.
        server.listen(place, backlog, resolve)
      })
      server.removeAllListeners('error')
      server.on('error', error => this.log.warn('gateway.fault', { why: error.message }))
      this.#failure = undefined
      const { address } = this
      this.log.info('gateway.listening', { address: address && endpointText(address.address, address.port) })
    } catch (error) {
      this.#door = undefined
      const at = endpointText(listen.address, listen.port)
      const remedy = 'free it, or choose another in gateway.listen'
      this.#failure = new MeshError('LISTEN', `the gateway cannot listen on ${at}: ${messageOf(error)}; ${remedy}`)
      this.log.error('gateway.listen-failed', { why: this.#failure.message })
    }
  }

  #newDoor(): Door {
    const { credentials } = this.#parts
    const events = {
      arrived: (arrival: Arrival) => this.#onArrival(arrival),
      failed: (address: string, why: string) => this.#noteRefusal(address, why),
    }
    return this.#carrier
      ? new CarriedDoor(credentials, this.#carrier, this.clock, events)
      : new NodeDoor(credentials, this.clock, events)
  }

  async #rotated(): Promise<void> {
    if (this.draining) return
    if (!this.#door) return this.#listen()
    this.#door.renew(this.#parts.credentials)
    this.#examineAll()
  }

  /** Roots and revocations have changed, or certificates have expired: who would be refused now is. */
  #examineAll(): void {
    const { material } = this.#parts.credentials
    if (!material) return
    for (const { peer } of [...this.#sessions]) {
      const { shown, client } = peer
      const isRooted = keepsRoots(peer.material, material, client.identity.cluster, client.identity.trustDomain)
      const { why } = examineAgain(shown, material, this.#expected, this.clock.wall(), isRooted)
      if (why === undefined) {
        peer.material = material
        continue
      }
      this.#noteRefusal(client.address, why)
      peer.cut('removed', constants.NGHTTP2_INADEQUATE_SECURITY)
    }
  }

  readonly #expected = (id: Parameters<typeof clusterOf>[0]) => clusterOf(id, this.#parts.peers())

  #onArrival(arrival: Arrival): void {
    const { address, port, presented, speaksHttp2 } = arrival
    const { material } = this.#parts.credentials
    if (!material) return arrival.drop()
    const doorway = this.draining || presented.certificate || !speaksHttp2 ? undefined : this.#doorway
    if (doorway) {
      const why = doorway.open(arrival)
      return why === undefined ? undefined : this.#refuse(arrival, why)
    }
    const found: Examined = speaksHttp2
      ? examine(presented, material, this.#expected, this.clock.wall())
      : { why: 'it does not speak HTTP/2 (ALPN h2)' }
    if (found.why !== undefined) return this.#refuse(arrival, found.why)
    const double = this.#parts
      .peers()
      .some(peer => peer.cluster === found.identity.cluster && peer.workloads !== undefined)
    const client = Object.freeze({ address, port, identity: found.identity, ...(double && { double }) })
    const { cluster } = found.identity
    const peer = new Peer(this, arrival, client, found.shown, material, () => {
      this.#peers.remove(cluster, entry)
      this.#sessions.delete(entry)
      if (this.#sessions.size === 0) this.#whenEmpty?.()
    })
    const entry: PeerEntry = { peer, evict: () => peer.cut('evicted') }
    this.#sessions.add(entry)
    if (!this.#peers.add(cluster, entry)) {
      this.#noteRefusal(address, `${this.#peers.size} sessions are open, the limit`)
      peer.cut('evicted', constants.NGHTTP2_ENHANCE_YOUR_CALM)
    } else if (this.draining) peer.leave()
  }

  #refuse(arrival: Arrival, why: string): void {
    this.#noteRefusal(arrival.address, why)
    arrival.refuse(why)
  }

  #noteRefusal(peer: string, why: string): void {
    this.#refused++
    const key = `${peer} ${why}`
    const now = this.clock.now()
    const before = this.#refusals.get(key)
    if (before && now - before.at < quietMs) {
      before.times++
      return
    }
    if (this.#refusals.size >= maxQuiet) this.#refusals.clear()
    this.#refusals.set(key, { at: now, times: 0 })
    this.log.warn('gateway.refused', { peer, why, ...(before && before.times > 0 ? { suppressed: before.times } : {}) })
  }

  #tick(): void {
    const now = this.clock.now()
    this.#carrier?.look(now)
    const wall = this.clock.wall()
    let expired = false
    for (const { peer } of this.#sessions) {
      peer.tick(now)
      expired ||= peer.shown.certificate.validToDate.getTime() < wall
    }
    if (expired) this.#leaveExpired(wall)
  }

  /** A peer whose certificate has expired comes again with a new one; streams in progress go on. */
  #leaveExpired(wall: number): void {
    for (const { peer } of this.#sessions) if (peer.shown.certificate.validToDate.getTime() < wall) peer.leave()
  }
}

interface PeerEntry {
  readonly peer: Peer
  evict(): void
}
