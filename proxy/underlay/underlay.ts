/** Keeps the devices and routes of this machine as the list of nodes wants them. */
import type { Command } from './command.ts'
import { commandsFor, commandsToRemove } from './commands.ts'
import type { IpRoute } from './iproute.ts'
import { masqueradeText, type Nft, noTable } from './masquerade.ts'
import type { UnderlayNode } from './node.ts'
import { ownNode } from './own-node.ts'
import type { Plan, UnderlayOptions } from './plan.ts'
import { planUnderlay } from './planner.ts'
import { type Present, readPresent } from './present.ts'
import { ensurePublicKey, readPublicKey } from './wireguard/key.ts'

export interface UnderlayParts {
  readonly options: UnderlayOptions
  /** The local cluster. */
  readonly cluster: string
  /** The name or an address of this node; undefined: found by the addresses of this machine. */
  readonly node: string | undefined
  readonly iproute: Pick<IpRoute, 'query' | 'execute' | 'wireguard'>
  readonly nft: Nft
}

export interface Proposal {
  readonly own: UnderlayNode
  readonly plan: Plan
  readonly commands: readonly Command[]
  /** What nft is given, if that is not there yet. */
  readonly rules: string | undefined
}

export class Underlay {
  readonly #parts: UnderlayParts
  /** One change after the other. */
  #last: Promise<unknown> = Promise.resolve()
  #hasLooked = false

  constructor(parts: UnderlayParts) {
    this.#parts = parts
  }

  /**
   * What is wanted, and what would have to be done for it. `nodes`: in the order in which they win where they overlap. Rejects with
   * UNDERLAY.
   */
  async propose(nodes: readonly UnderlayNode[], { keep = false } = {}): Promise<Proposal> {
    const { options, cluster, node } = this.#parts
    const present = await this.#present()
    const own = ownNode(nodes, { cluster, node, links: present.links })
    const { mode, keyFile } = options
    const publicKey = mode === 'wireguard' && keyFile !== undefined ? await readPublicKey(keyFile) : undefined
    const plan = planUnderlay(nodes, own, present, options, publicKey)
    const commands = commandsFor(plan, present, { keep })
    return { own, plan, commands, rules: keep ? undefined : await this.#rulesFor(plan) }
  }

  /** Does what is missing. `keep`: removes nothing. Rejects with UNDERLAY; what was there before then stays. */
  apply(nodes: readonly UnderlayNode[], { keep = false } = {}): Promise<Proposal> {
    return this.#inTurn(async () => {
      const { mode, keyFile } = this.#parts.options
      if (mode === 'wireguard' && keyFile !== undefined) await ensurePublicKey(keyFile)
      const proposal = await this.propose(nodes, { keep })
      await this.#parts.iproute.execute(proposal.commands)
      if (proposal.rules !== undefined) await this.#parts.nft.run(proposal.rules)
      return proposal
    })
  }

  /** Removes what Starlane has set, also that of an earlier process. */
  remove(): Promise<readonly Command[]> {
    return this.#inTurn(async () => {
      const { iproute, nft } = this.#parts
      const commands = commandsToRemove(await this.#present())
      await iproute.execute(commands)
      if (await this.#hasTable()) await nft.run(noTable)
      return commands
    })
  }

  #present(): Promise<Present> {
    const { iproute, options } = this.#parts
    return readPresent(iproute.query, options.device, iproute.wireguard)
  }

  async #rulesFor({ own, inside }: Plan): Promise<string | undefined> {
    const { options, nft } = this.#parts
    if (options.masquerade) {
      const { script, mark } = masqueradeText({ own, inside })
      return (await nft.mark()) === mark ? undefined : script
    }
    // A table of an earlier process is looked for once.
    if (this.#hasLooked) return undefined
    this.#hasLooked = true
    return (await this.#hasTable()) ? noTable : undefined
  }

  /** Where nft is missing there is no table. */
  async #hasTable(): Promise<boolean> {
    const mark = await this.#parts.nft.mark().catch(() => undefined)
    return mark !== undefined
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => {})
    return turn
  }
}
