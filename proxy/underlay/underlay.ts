/** Keeps the devices and routes of this machine as the list of nodes wants them. */
import { type Command, commandsFor, commandsToRemove } from './commands.ts'
import type { IpRoute } from './iproute.ts'
import type { UnderlayNode } from './node.ts'
import { ownNode } from './own-node.ts'
import type { Plan, UnderlayOptions } from './plan.ts'
import { planUnderlay } from './planner.ts'
import { readPresent } from './present.ts'

export interface UnderlayParts {
  readonly options: UnderlayOptions
  /** The local cluster. */
  readonly cluster: string
  /** The name or an address of this node; undefined: found by the addresses of this machine. */
  readonly node: string | undefined
  readonly iproute: Pick<IpRoute, 'query' | 'execute'>
}

export interface Proposal {
  readonly own: UnderlayNode
  readonly plan: Plan
  readonly commands: readonly Command[]
}

export class Underlay {
  readonly #parts: UnderlayParts
  /** One change after the other. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(parts: UnderlayParts) {
    this.#parts = parts
  }

  /**
   * What is wanted, and what would have to be done for it. `nodes`: in the order in which they win where they overlap. Rejects with
   * UNDERLAY.
   */
  async propose(nodes: readonly UnderlayNode[], { keep = false } = {}): Promise<Proposal> {
    const { options, cluster, node, iproute } = this.#parts
    const present = await readPresent(iproute.query, options.device)
    const own = ownNode(nodes, { cluster, node, links: present.links })
    const plan = planUnderlay(nodes, own, present, options)
    return { own, plan, commands: commandsFor(plan, present, { keep }) }
  }

  /** Does what is missing. `keep`: removes nothing. Rejects with UNDERLAY; what was there before then stays. */
  apply(nodes: readonly UnderlayNode[], { keep = false } = {}): Promise<Proposal> {
    return this.#inTurn(async () => {
      const proposal = await this.propose(nodes, { keep })
      await this.#parts.iproute.execute(proposal.commands)
      return proposal
    })
  }

  /** Removes what Starlane has set, also that of an earlier process. */
  remove(): Promise<readonly Command[]> {
    return this.#inTurn(async () => {
      const { iproute, options } = this.#parts
      const commands = commandsToRemove(await readPresent(iproute.query, options.device))
      await iproute.execute(commands)
      return commands
    })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => {})
    return turn
  }
}
