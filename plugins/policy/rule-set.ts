/** The rules that hold for one set of subjects, compiled for asking. */
import type { GlobalService } from '../../proxy/plugin.ts'
import { portMatches, type Target } from './ports.ts'
import type { Direction, Peer, Policy, Rule } from './rule.ts'

/** Numbers of peers that a party matches. */
export type Matched = ReadonlySet<number>

interface CompiledRule {
  readonly rule: Rule
  /** The numbers of its peers; one must be among those of the other end. */
  readonly peers: readonly number[]
  readonly services: readonly Extract<Peer, { is: 'service' }>[]
}

/** What one direction of one subject comes to. */
export interface Verdict {
  readonly allowed: boolean
  readonly direction: Direction
  /** What decided: a rule, default deny, or what no policy can forbid. */
  readonly by: 'rule' | 'default-deny' | 'no-policy' | 'itself' | 'own-node' | 'unknown-pod'
  readonly rule?: Rule
  /** With default deny: the policies that cause it, by name. */
  readonly policies?: readonly Policy[]
  /** With default deny: rules that might allow it, but have something that cannot be decided here. */
  readonly undecided?: readonly Rule[]
}

/** The other end of a flow, as a rule asks about it. */
export interface Asked {
  readonly matched: Matched
  readonly target: Target
  readonly service: GlobalService
  /** Whether no policy may forbid it: the node of a Pod always reaches it (Kubernetes, Network Policies). */
  readonly isOwnNode: boolean
}

/** Deny before allow, then default deny: the order of the list does not matter. */
export class RuleSet {
  readonly direction: Direction
  /** Whether it depends on the service that the flow is for. */
  readonly asksService: boolean
  readonly #denies: readonly CompiledRule[]
  readonly #allows: readonly CompiledRule[]
  /** Left out, since they cannot be decided. */
  readonly #undecided: readonly CompiledRule[]
  readonly #isolating: readonly Policy[]

  /** `numberOf`: the number of a peer. `undecided`: what to do with what cannot be decided. */
  constructor(
    direction: Direction,
    policies: readonly Policy[],
    numberOf: (peer: Peer) => number,
    undecided: 'refuse' | 'allow',
  ) {
    this.direction = direction
    const rules = policies.flatMap(policy => policy.rules.filter(rule => rule.direction === direction))
    const compile = (rule: Rule, withUndecided: boolean): CompiledRule => ({
      rule,
      peers: rule.peers.flatMap(peer =>
        peer.is === 'service' || (peer.is === 'undecided' && !withUndecided) ? [] : [numberOf(peer)],
      ),
      services: rule.peers.filter(peer => peer.is === 'service'),
    })
    // What cannot be decided counts against the flow, unless the option says otherwise.
    const denies = rules.filter(({ effect }) => effect === 'deny')
    this.#denies = denies
      .filter(rule => rule.undecided === undefined || undecided === 'refuse')
      .map(rule => compile(rule, undecided === 'refuse'))
    const allows = rules.filter(({ effect }) => effect === 'allow')
    this.#allows = allows
      .filter(rule => rule.undecided === undefined || undecided === 'allow')
      .map(rule => compile(rule, undecided === 'allow'))
    this.#undecided = undecided === 'allow' ? [] : allows.filter(isUndecided).map(rule => compile(rule, true))
    this.asksService = [...this.#denies, ...this.#allows, ...this.#undecided].some(
      ({ services }) => services.length > 0,
    )
    this.#isolating = policies.filter(({ isolates }) => isolates[direction])
  }

  ask(asked: Asked): Verdict {
    const { direction } = this
    const denying = this.#denies.find(rule => applies(rule, asked))
    if (denying) return { allowed: false, direction, by: 'rule', rule: denying.rule }
    if (this.#isolating.length === 0) return { allowed: true, direction, by: 'no-policy' }
    if (asked.isOwnNode) return { allowed: true, direction, by: 'own-node' }
    const allowing = this.#allows.find(rule => applies(rule, asked))
    if (allowing) return { allowed: true, direction, by: 'rule', rule: allowing.rule }
    const undecided = this.#undecided.filter(rule => applies(rule, asked)).map(({ rule }) => rule)
    return { allowed: false, direction, by: 'default-deny', policies: this.#isolating, undecided }
  }
}

function isUndecided({ undecided, peers }: Rule): boolean {
  return undecided !== undefined || peers.some(({ is }) => is === 'undecided')
}

function applies({ rule, peers, services }: CompiledRule, { matched, target, service }: Asked): boolean {
  const isPeer = peers.some(number => matched.has(number)) || services.some(({ has }) => has(service))
  if (!isPeer) return false
  const { ports, effect } = rule
  return ports === undefined || ports.some(port => portMatches(port, target, effect === 'deny'))
}
