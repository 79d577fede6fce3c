/** Keeps the underlay of this machine after the nodes that sources report, and knows how its peers are reached. */
import type { Server } from 'node:net'
import type { ClusterConfig } from '../../config/schema.ts'
import { takeLock } from '../../dataplane/netns-lock.ts'
import { MeshError, type Problem } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Sink } from '../../model/sink.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { UnderlayView } from '../../model/views.ts'
import { birdConfig } from '../../underlay/bird.ts'
import { createIpRoute, type IpRoute } from '../../underlay/iproute.ts'
import { NodeTable, nodeText } from '../../underlay/node.ts'
import { peersOf, type UnderlayOptions } from '../../underlay/plan.ts'
import { Prober } from '../../underlay/probe.ts'
import { type Proposal, Underlay } from '../../underlay/underlay.ts'
import { believed } from './claims.ts'
import { UnderlayFollower } from './follower.ts'

export interface KeeperParts {
  /** The local cluster. */
  readonly cluster: string
  readonly options: UnderlayOptions
  /** The name or an address of this node; undefined: found by the addresses of this machine. */
  readonly node: string | undefined
  readonly clock: Clock
  readonly log: Log
  readonly iproute?: IpRoute
}

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

  constructor(parts: KeeperParts) {
    const { cluster, options, node, clock, log, iproute = createIpRoute() } = parts
    this.#parts = parts
    this.table = new NodeTable(() => this.#follower.nodesChanged())
    this.#underlay = new Underlay({ options, cluster, node, iproute })
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
        this.#prober.follow(proposal.plan.peers)
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
    return this.#underlay.apply(this.table.nodes())
  }

  async bird(): Promise<string> {
    const { own } = await this.propose()
    return birdConfig(peersOf(this.table.nodes(), own, this.#parts.options.within), own)
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

  /** What was set stays. */
  async close(): Promise<void> {
    this.#cancelLock?.()
    await this.#follower.close()
    await this.#prober.close()
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

  problems(): Problem[] {
    const problem = (where: string, message: string): Problem => ({ code: 'UNDERLAY', where, message })
    const { fault } = this.#follower
    const { peers, leftOut } = this.view()
    return [
      ...(this.#isBlocked ? [problem('underlay', 'another Starlane keeps the underlay of this machine')] : []),
      ...(fault === undefined ? [] : [problem('underlay', fault)]),
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
