/** All policies, compiled: what a party is to them, and what they say of a pair of parties. */
import type { Identity } from '../../proxy/plugin.ts'
import { isSubject, matchesParty, type Party } from './party.ts'
import type { Direction, Peer, Policy } from './rule.ts'
import { type Matched, RuleSet } from './rule-set.ts'
import { names, type Selector } from './selector.ts'

/** The rules for a party as the subject of policies: those that are enforced, and all, with those in audit. */
export interface Side {
  readonly enforced: RuleSet
  /** The same object if no policy in audit is about it. */
  readonly all: RuleSet
}

/** What a party is to all policies. One object for all parties that no policy tells apart. */
export interface Profile {
  /** Differs from that of every other profile of the book. */
  readonly number: number
  readonly matched: Matched
  readonly sides: Readonly<Record<Direction, Side>>
}

/** Something that a party is or is not, and whom it can be about. */
interface Matcher {
  readonly number: number
  readonly matches: (party: Party) => boolean
}

/** By the namespace that a selector requires, so that a party is not compared with the selectors of all others. */
class Matchers {
  readonly #general: Matcher[] = []
  readonly #byNamespace = new Map<string, Matcher[]>()

  add(matcher: Matcher, selector: Selector | undefined): void {
    const required = selector?.find(({ key, operator }) => key === names.namespace && operator === 'In')
    if (!required) this.#general.push(matcher)
    for (const namespace of required?.values ?? []) {
      const known = this.#byNamespace.get(namespace)
      if (known) known.push(matcher)
      else this.#byNamespace.set(namespace, [matcher])
    }
  }

  get isEmpty(): boolean {
    return this.#general.length === 0
  }

  of(party: Party): number[] {
    const near = this.#byNamespace.get(party.identity?.namespace ?? '') ?? []
    return [...this.#general, ...near].filter(({ matches }) => matches(party)).map(({ number }) => number)
  }
}

/** What all parties of one identity are, apart from ranges. */
interface IdentityMatch {
  readonly peers: readonly number[]
  readonly subjects: readonly number[]
  /** Of those in no range. */
  profile: Profile | undefined
}

const noNumbers: readonly number[] = Object.freeze([])

/** Profiles that are kept; when there are more, all are made again. */
const maxProfiles = 10_000

export class Book {
  readonly policies: readonly Policy[]
  readonly hasAudit: boolean
  readonly #undecided: 'refuse' | 'allow'
  readonly #peers = new Matchers()
  /** Ranges that count for Pods too: the only thing by which Pods of one identity can differ. */
  readonly #ranges = new Matchers()
  readonly #numbers = new Map<string, number>()
  readonly #subjects = new Matchers()
  readonly #profiles = new Map<string, Profile>()
  readonly #byIdentity = new WeakMap<Identity, IdentityMatch>()
  #lastProfile = 0
  readonly #sides = new Map<string, Profile['sides']>()

  constructor(policies: readonly Policy[], undecided: 'refuse' | 'allow') {
    this.policies = policies
    this.hasAudit = policies.some(({ audit }) => audit)
    this.#undecided = undecided
    for (const policy of policies) for (const { peers } of policy.rules) for (const peer of peers) this.#numberOf(peer)
    for (const [number, { subject, object }] of policies.entries())
      this.#subjects.add({ number, matches: party => isSubject(subject, object.cluster, party) }, subject)
  }

  get isEmpty(): boolean {
    return this.policies.length === 0
  }

  profileOf(party: Party): Profile {
    const { kind, identity } = party
    if (kind !== 'pod' || !identity) return this.#profileFor(this.#matchOf(party), this.#ranges.of(party))
    const known = this.#byIdentity.get(identity) ?? this.#matchOf(party)
    if (known.profile === undefined) this.#byIdentity.set(identity, known)
    const within = this.#ranges.isEmpty ? noNumbers : this.#ranges.of(party)
    if (within.length > 0) return this.#profileFor(known, within)
    known.profile ??= this.#profileFor(known, noNumbers)
    return known.profile
  }

  #matchOf(party: Party): IdentityMatch {
    return { peers: this.#peers.of(party), subjects: this.#subjects.of(party).sort(ascending), profile: undefined }
  }

  #profileFor({ peers, subjects }: IdentityMatch, within: readonly number[]): Profile {
    const matched = [...peers, ...within].sort(ascending)
    const key = `${matched.join()} ${subjects.join()}`
    const known = this.#profiles.get(key)
    if (known) return known
    if (this.#profiles.size >= maxProfiles) this.#profiles.clear()
    const profile = { number: this.#lastProfile++, matched: new Set(matched), sides: this.#sidesOf(subjects) }
    this.#profiles.set(key, profile)
    return profile
  }

  #sidesOf(subjects: readonly number[]): Profile['sides'] {
    const key = subjects.join()
    const known = this.#sides.get(key)
    if (known) return known
    const policies = subjects.map(number => this.policies[number] as Policy)
    const sides = { ingress: this.#sideOf('ingress', policies), egress: this.#sideOf('egress', policies) }
    if (this.#sides.size >= maxProfiles) this.#sides.clear()
    this.#sides.set(key, sides)
    return sides
  }

  #sideOf(direction: Direction, policies: readonly Policy[]): Side {
    const compile = (some: readonly Policy[]) =>
      new RuleSet(direction, some, peer => this.#numberOf(peer), this.#undecided)
    const enforced = compile(policies.filter(({ audit }) => !audit))
    return { enforced, all: policies.some(({ audit }) => audit) ? compile(policies) : enforced }
  }

  /** Equal peers have one number. */
  #numberOf(peer: Peer): number {
    if (peer.is === 'service') return -1
    const text = JSON.stringify(peer, (_key, value) => (typeof value === 'bigint' ? String(value) : value))
    const known = this.#numbers.get(text)
    if (known !== undefined) return known
    const number = this.#numbers.size
    this.#numbers.set(text, number)
    const matcher = { number, matches: (party: Party) => matchesParty(peer, party) }
    if (peer.is === 'range' && peer.pods) this.#ranges.add(matcher, undefined)
    else this.#peers.add(matcher, peer.is === 'labels' ? peer.selector : undefined)
    return number
  }
}

function ascending(a: number, b: number): number {
  return a - b
}
