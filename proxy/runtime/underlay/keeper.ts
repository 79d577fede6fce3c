/** Keeps the underlay of this machine after the nodes that sources report, and knows how its peers are reached. */
import type { Server } from 'node:net'
import type { ClusterConfig } from '../../config/schema.ts'
import { takeLock } from '../../dataplane/netns-lock.ts'
import { parseCidr } from '../../model/address.ts'
import { MeshError, messageOf, type Problem } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Sink } from '../../model/sink.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { ComponentView, UnderlayView } from '../../model/views.ts'
import { birdConfig } from '../../underlay/daemons/bird.ts'
import { frrConfig } from '../../underlay/daemons/frr.ts'
import { kubeRouterConfig } from '../../underlay/daemons/kube-router.ts'
import { createIpRoute, type IpRoute } from '../../underlay/iproute.ts'
import { createNft } from '../../underlay/masquerade.ts'
import { NodeTable, nodeText } from '../../underlay/node.ts'
import { peersOf, type UnderlayOptions } from '../../underlay/plan.ts'
import { Prober } from '../../underlay/probe.ts'
import { type Proposal, Underlay } from '../../underlay/underlay.ts'
import { believed } from './claims.ts'
import { UnderlayFollower } from './follower.ts'
import type { NodeKey } from './node-key.ts'

export interface KeeperParts {
  /** The local cluster. */
  readonly cluster: string
  readonly options: UnderlayOptions
  /** The name or an address of this node; undefined: found by the addresses of this machine. */
  readonly node: string | undefined
  readonly clock: Clock
  readonly log: Log
  readonly iproute?: IpRoute
  readonly key: NodeKey
}

const daemons = { bird: birdConfig, frr: frrConfig, 'kube-router': kubeRouterConfig } as const

export type Daemon = keyof typeof daemons

const maxWays = 20_000

/** How often a process that another one is in the way of tries again. */
const lockMs = 500

export class UnderlayKeeper {
  readonly table: NodeTable
  readonly #parts: KeeperParts
  readonly #underlay: Underlay
  readonly #follower: UnderlayFollower
  readonly #prober: Prober
  #lock: Server | undefined
  #cancelLock: (() => void) | undefined
  #isBlocked = false
  #applied: Proposal | undefined
  /** The place in the list of peers for each address that was asked for. */
  readonly #ways = new Map<string, number>()

  constructor(parts: KeeperParts) {
    const { cluster, options, node, clock, log, iproute = createIpRoute([], options.program) } = parts
    this.#parts = parts
    this.table = new NodeTable(() => this.#follower.nodesChanged())
    this.#underlay = new Underlay({ options, cluster, node, iproute, nft: createNft() })
    this.#prober = new Prober({
      clock,
      onChange: (peer, { state, roundTripMs }, before) => {
        const fields = { node: nodeText(peer), address: peer.address, roundTripMs }
        if (state === 'reached' && before === 'unknown') log.debug('underlay.reached', fields)
        else if (state === 'reached') log.info('underlay.reached', fields)
        else log.warn(state === 'narrow' ? 'underlay.narrow' : 'underlay.silent', { ...fields, mtu: peer.mtu })
      },
    })
    this.#follower = new UnderlayFollower({
      ...{ underlay: this.#underlay, table: this.table, iproute, cluster, clock, log },
      onApplied: proposal => {
        this.#applied = proposal
        this.#ways.clear()
        this.#prober.follow(proposal.plan.peers)
        void this.#publishKey(proposal)
      },
    })
  }

  /** The clusters that are joined: those that are not behind gateways, the local one first. Of two nodes that overlap the first counts. */
  setClusters(clusters: readonly ClusterConfig[]): void {
    const { cluster } = this.#parts
    const joined = clusters.filter(({ name, route }) => name === cluster || route !== 'tunnel').map(({ name }) => name)
    this.table.setClusters([cluster, ...joined.filter(name => name !== cluster)])
  }

  sink({ name, allow }: Pick<ClusterConfig, 'name' | 'allow'>): Sink {
    return this.table.sink(name, node => believed(node, allow.cidrs))
  }

  propose(): Promise<Proposal> {
    return this.#underlay.propose(this.table.nodes())
  }

  /** Rejects with UNDERLAY where another process of this network namespace keeps the underlay. */
  async apply(): Promise<Proposal> {
    await this.lock()
    const proposal = await this.#underlay.apply(this.table.nodes())
    await this.#publishKey(proposal)
    return proposal
  }

  async #publishKey({ own, plan: { device } }: Proposal): Promise<void> {
    if (device?.kind !== 'wireguard') return
    await this.#parts.key.publish(own.name, { key: device.publicKey, recorded: own.wireguardKey })
  }

  /** A configuration for a routing daemon. */
  async daemon(which: Daemon): Promise<string> {
    const { own } = await this.propose()
    return daemons[which](peersOf(this.table.nodes(), own, this.#parts.options.within), own)
  }

  /** Rejects as `apply` does. */
  async remove(): Promise<number> {
    await this.lock()
    return (await this.#underlay.remove()).length
  }

  /** Two processes would undo each other's changes. */
  async lock(): Promise<void> {
    this.#lock ??= await takeLock('starlane-underlay')
    this.#isBlocked = this.#lock === undefined
    if (this.#isBlocked)
      throw new MeshError('UNDERLAY', 'another Starlane keeps the underlay of this machine; end it first')
  }

  /** Follows the nodes until `close`, as soon as no other process does. Removes nothing before every cluster has been read. */
  follow(): void {
    this.#cancelLock = this.#parts.clock.after(0, () => {
      this.lock().then(
        () => this.#follower.start(),
        () => {
          this.#cancelLock = this.#parts.clock.after(lockMs, () => this.follow())
        },
      )
    })
  }

  /** `remove`: what was set goes. Otherwise it stays, for a successor. */
  async close({ remove = false } = {}): Promise<void> {
    this.#cancelLock?.()
    await this.#follower.close()
    await this.#prober.close()
    await this.#parts.key.close()
    if (remove && this.#lock) {
      await this.#underlay.remove().catch(error => {
        this.#parts.log.error('underlay.failed', { why: messageOf(error), remedy: 'starlane underlay --remove' })
      })
    }
    this.#lock?.close()
    this.#lock = undefined
  }

  view(): UnderlayView {
    const { mode } = this.#parts.options
    const { own, plan } = this.#applied ?? {}
    return {
      mode,
      ...(own ? { node: nodeText(own) } : {}),
      ...(plan?.device ? { device: plan.device.name, mtu: plan.device.mtu } : {}),
      peers: (plan?.peers ?? []).map(({ cluster, name, address, networks, mtu }) => {
        const reach = this.#prober.reachOf(nodeText({ cluster, name }))
        return {
          ...{ cluster, node: name, address, networks, mtu, state: reach?.state ?? 'unknown' },
          ...(reach?.roundTripMs === undefined ? {} : { roundTripMs: reach.roundTripMs }),
        }
      }),
      leftOut: plan?.leftOut.map(({ node, why }) => ({ node, why })) ?? [],
    }
  }

  /** The node behind an address of a pod, or why there is none. */
  wayTo(cluster: string, address: string): UnderlayView['peers'][number] | string {
    const { peers, leftOut } = this.view()
    if (this.#ways.size > maxWays) this.#ways.clear()
    let place = this.#ways.get(address)
    if (place === undefined) {
      place = peers.findIndex(each => each.networks.some(text => parseCidr(text)?.contains(address)))
      this.#ways.set(address, place)
    }
    const peer = peers[place]
    if (peer) return peer
    const why = leftOut.find(({ node }) => node.startsWith(`${cluster}/`))
    return why ? `${why.node}: ${why.why}` : `no node of ${cluster} has ${address} in its pod networks`
  }

  component(): ComponentView {
    const { mode, device, peers } = this.view()
    const problems = this.problems()
    const reached = peers.filter(({ state }) => state === 'reached').length
    const detail = `${mode}${device === undefined ? '' : ` ${device}`}, ${reached}/${peers.length} nodes reached`
    const [problem] = problems
    if (!problem) return { name: 'Underlay', state: 'ok', detail }
    const isOut = this.#follower.fault !== undefined || this.#isBlocked
    return {
      name: 'Underlay',
      state: isOut ? 'error' : 'warning',
      detail: `${detail}; ${problem.where}: ${problem.message}`,
    }
  }

  problems(): Problem[] {
    const problem = (where: string, message: string): Problem => ({ code: 'UNDERLAY', where, message })
    const { fault } = this.#follower
    const { key } = this.#parts
    const { peers, leftOut } = this.view()
    return [
      ...(this.#isBlocked ? [problem('underlay', 'another Starlane keeps the underlay of this machine')] : []),
      ...(fault === undefined ? [] : [problem('underlay', fault)]),
      ...(key.fault === undefined ? [] : [problem(this.view().node ?? 'underlay', key.fault)]),
      ...leftOut.map(({ node, why }) => problem(node, `its pods are not reached: ${why}`)),
      ...peers.flatMap(({ cluster, node, address, state, mtu }) => {
        const where = nodeText({ cluster, name: node })
        if (state === 'silent')
          return [problem(where, `does not answer through the underlay (${address}); see docs/underlay.md`)]
        if (state === 'narrow')
          return [problem(where, `packets of ${mtu} bytes do not arrive there, small ones do; lower underlay.mtu`)]
        return []
      }),
    ]
  }
}
