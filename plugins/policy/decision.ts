/** What policies say of one client and one backend. */
import type { Backend, GlobalService, Protocol } from '../../proxy/plugin.ts'
import type { Profile } from './book.ts'
import type { Party } from './party.ts'
import type { Target } from './ports.ts'
import type { Policy, Rule } from './rule.ts'
import type { RuleSet, Verdict } from './rule-set.ts'

/** A client. One on this machine is a node to Pods of other machines. */
export interface ClientEnd {
  readonly party: Party
  readonly profile: Profile
  readonly asNode?: Profile
  /** An address of a range of Pods that no Pod is known for. */
  readonly isPending: boolean
}

export interface BackendEnd {
  readonly cluster: string
  readonly party: Party
  readonly profile: Profile
  /** What one on this machine is to Pods of other machines. */
  readonly asNode?: Profile
  readonly target: Target
  /** One object for all backends that no policy tells apart: of one profile, at one port, and as near. */
  readonly destination: object
  /** Where it is, seen from this machine. */
  readonly place: 'here' | 'elsewhere' | 'unknown'
}

export interface Decision {
  /** `audit`: what is enforced allows it, and with the policies in audit it would be refused. */
  readonly outcome: 'allow' | 'audit' | 'refuse'
  /** What refuses, or would refuse; otherwise what allows: the verdict at the backend, or at the client if there is no other. */
  readonly verdict: Verdict
}

const itself: Decision = { outcome: 'allow', verdict: { allowed: true, direction: 'ingress', by: 'itself' } }
const pending: Decision = { outcome: 'refuse', verdict: { allowed: false, direction: 'egress', by: 'unknown-pod' } }

/** Egress of the client and ingress of the backend must both allow it. */
export function decide(client: ClientEnd, backend: BackendEnd, service: GlobalService): Decision {
  // A Pod always reaches itself.
  const { kind, address, identity } = client.party
  if (kind === 'pod' && address === backend.party.address && identity?.cluster === backend.cluster) return itself
  if (client.isPending) return pending
  const enforced = ask(client, backend, service, 'enforced')
  if (!enforced.allowed) return { outcome: 'refuse', verdict: enforced }
  const all = ask(client, backend, service, 'all')
  return all.allowed ? { outcome: 'allow', verdict: enforced } : { outcome: 'audit', verdict: all }
}

function ask(client: ClientEnd, backend: BackendEnd, service: GlobalService, which: 'enforced' | 'all'): Verdict {
  const { target } = backend
  const egress: RuleSet = client.profile.sides.egress[which]
  // A Pod of the cluster that has come to this Starlane is taken to be one of this machine; one of another cluster is not.
  const isHere = client.party.identity?.cluster === backend.cluster
  const reached = isHere ? backend.profile : (backend.asNode ?? backend.profile)
  const out = egress.ask({ matched: reached.matched, target, service, isOwnNode: false })
  if (!out.allowed) return out
  const seen = backend.place === 'elsewhere' ? (client.asNode ?? client.profile) : client.profile
  const isOwnNode = client.party.kind === 'host' && backend.place === 'here'
  const into = backend.profile.sides.ingress[which].ask({ matched: seen.matched, target, service, isOwnNode })
  return into.by === 'no-policy' ? out : into
}

/** Where a flow to the backend would go. */
export function targetOf({ port, protocol }: Backend, ports: Target['ports']): Target {
  return { port, protocol: protocol as Protocol, ports }
}

/** The policy that counts for a refusal: that of the rule, or the first of those that isolate. */
export function policyOf({ rule, policies }: Verdict): Policy | undefined {
  return rule?.policy ?? policies?.[0]
}

const maxNamed = 3

/** `egress: no rule of NetworkPolicy shop/deny (policies.yaml:3) allows it` */
export function verdictText({ direction, by, rule, policies = [], undecided = [] }: Verdict): string {
  switch (by) {
    case 'rule':
      return `${direction}: ${rule?.policy.text} ${rule?.effect === 'deny' ? 'denies' : 'allows'} it by ${rule?.text}`
    case 'default-deny': {
      const named = policies.slice(0, maxNamed).map(({ text }) => text)
      const more = policies.length > maxNamed ? ` and ${policies.length - maxNamed} more` : ''
      const might = undecided.slice(0, maxNamed).map(undecidedText)
      return `${direction}: no rule of ${named.join(', ')}${more} allows it${might.map(text => `; ${text}`).join('')}`
    }
    case 'unknown-pod':
      return 'the address is one of a Pod, and no Pod is known that has it'
    case 'itself':
      return 'a Pod reaches itself'
    case 'own-node':
      return 'a Pod is always reached from its node'
    case 'no-policy':
      return 'no policy is about it'
  }
}

function undecidedText({ policy, text, undecided, peers }: Rule): string {
  const why = undecided ?? peers.flatMap(peer => (peer.is === 'undecided' ? [peer.why] : []))[0]
  return `${text} of ${policy.text} might, but ${why}`
}
