/** Applies the plan whenever the nodes or the machine change, and says so in the log. */
import { messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { IpRoute } from '../../underlay/iproute.ts'
import type { NodeTable } from '../../underlay/node.ts'
import type { Proposal, Underlay } from '../../underlay/underlay.ts'

interface FollowerParts {
  readonly underlay: Underlay
  readonly table: NodeTable
  readonly iproute: Pick<IpRoute, 'watch'>
  /** The local cluster. */
  readonly cluster: string
  readonly clock: Clock
  readonly log: Log
  readonly onApplied?: (proposal: Proposal) => void
}

/** Changes of many nodes at once are one. */
const gatherMs = 100
/** The machine may have thousands of changes a second, of links and routes that are not ours. */
const machineMs = 1000
/** How often the machine is compared with the plan, whatever happens. */
const checkMs = 10_000

export class UnderlayFollower {
  readonly #parts: FollowerParts
  #isRunning = false
  /** The machine has been as the plan wants it. */
  #isReady = false
  #cancelNodes: (() => void) | undefined
  #cancelMachine: (() => void) | undefined
  #cancelChecks: (() => void) | undefined
  #stopWatching: (() => void) | undefined
  #applying: Promise<void> = Promise.resolve()
  #fault: string | undefined
  #leftOut = ''

  constructor(parts: FollowerParts) {
    this.#parts = parts
  }

  /** Why the machine is not as the plan wants it. */
  get fault(): string | undefined {
    return this.#fault
  }

  start(): void {
    const { clock } = this.#parts
    this.#isRunning = true
    this.#cancelChecks = clock.every(checkMs, () => {
      this.#watch()
      this.#apply()
    })
    this.#watch()
    this.#apply()
  }

  nodesChanged(): void {
    if (!this.#isRunning) return
    this.#cancelNodes ??= this.#parts.clock.after(gatherMs, () => {
      this.#cancelNodes = undefined
      this.#apply()
    })
  }

  /** What was set stays. */
  async close(): Promise<void> {
    this.#isRunning = false
    for (const cancel of [this.#cancelNodes, this.#cancelMachine, this.#cancelChecks, this.#stopWatching]) cancel?.()
    this.#stopWatching = undefined
    await this.#applying
  }

  /** Without `ip monitor`, changes of the machine are found by the next check. */
  #watch(): void {
    const { iproute, clock, log } = this.#parts
    this.#stopWatching ??= iproute.watch(
      () => {
        this.#cancelMachine ??= clock.after(machineMs, () => {
          this.#cancelMachine = undefined
          this.#apply()
        })
      },
      why => {
        this.#stopWatching = undefined
        log.debug('underlay.unwatched', { why })
      },
    )
  }

  #apply(): void {
    this.#applying = this.#applying.then(() => this.#applyLogged())
  }

  /** A fault leaves what was set before; it is logged once. */
  async #applyLogged(): Promise<void> {
    const { underlay, table, cluster, log, onApplied } = this.#parts
    const waiting = table.waiting()
    // Without the local cluster it is not known which node this is.
    if (!this.#isRunning || waiting.includes(cluster)) return
    try {
      const proposal = await underlay.apply(table.nodes(), { keep: waiting.length > 0 })
      const { own, plan, commands } = proposal
      this.#fault = undefined
      const facts = { node: own.name, peers: plan.peers.length, routes: plan.routes.length, changes: commands.length }
      if (!this.#isReady) log.info('underlay.ready', facts)
      else if (commands.length > 0) log.info('underlay.changed', facts)
      this.#isReady = true
      const leftOut = JSON.stringify(plan.leftOut)
      if (leftOut !== this.#leftOut)
        for (const { node, why } of plan.leftOut) log.warn('underlay.left-out', { node, why })
      this.#leftOut = leftOut
      onApplied?.(proposal)
    } catch (error) {
      const fault = messageOf(error)
      if (fault !== this.#fault) log.error('underlay.failed', { why: fault, remedy: 'what was set before stays' })
      this.#fault = fault
    }
  }
}
