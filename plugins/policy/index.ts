/** Network policies across clusters: who may reach which backend, by the policies of the clusters themselves. */
import {
  type Backend,
  type Backends,
  boolean,
  type Client,
  cidr,
  definePlugin,
  type GlobalService,
  type Host,
  list,
  oneOf,
  type ServiceKey,
  type Workloads,
} from '../../proxy/plugin.ts'
import { Ahead } from './ahead.ts'
import { Book } from './book.ts'
import { Ends, type KnownClient } from './clients.ts'
import { type Decision, policyOf, verdictText } from './decision.ts'
import type { ListDecision } from './decisions.ts'
import { expectedClients } from './expected.ts'
import { KnownNames } from './names.ts'
import { partyText } from './party.ts'
import { type ReadResult, readPolicies } from './read/policies.ts'
import type { Policy } from './rule.ts'

/** A line is logged at most this often for each policy. */
const logEveryMs = 10_000
const maxFindings = 1000
/** No client has this address; views ask with it what holds for all. */
const anyone = '0.0.0.0'

export default definePlugin({
  name: 'policy',
  options: {
    defaultLocalCluster: boolean(
      "Whether a selector without a cluster label means Pods of the policy's own cluster, as Cilium's `policy-default-local-cluster`; false: of any cluster.",
      true,
    ),
    undecided: oneOf(
      'What a rule does that cannot be decided at layer 4, such as one of HTTP: `refuse` (it allows nothing; one that denies denies all it could be about) or `allow` (as if the condition were met; one that denies denies nothing).',
      ['refuse', 'allow'],
      'refuse',
    ),
    audit: boolean('Decide, count and log what all policies would refuse, and let it through.', false),
    dns: oneOf(
      'What DNS says of a service of which policies refuse every backend to the client: `answer` as always, or `hide` it.',
      ['answer', 'hide'],
      'answer',
    ),
    ipBlocks: oneOf(
      "Whether ranges of NetworkPolicies count for all addresses, as Kubernetes' conformance tests have it, or only for what is outside of the clusters, as in Cilium.",
      ['all', 'outside'],
      'all',
    ),
    nodes: list('Ranges of addresses of nodes, where no Pod tells them.', cidr('range'), []),
    pods: list(
      'Ranges of addresses of Pods. A client in them is refused until its Pod is known, instead of counting as one from outside.',
      cidr('range'),
      [],
    ),
  },
  onError: 'refuse',
  create: ({ defaultLocalCluster, undecided, audit, dns, ipBlocks, nodes, pods }, host) => {
    const workloads = host.workloads()
    const audits = audit && !host.rehearses
    const read = (): ReadResult => readPolicies(workloads.policies(), { defaultLocalCluster, ipBlocks }, audits)
    let { policies, findings } = read()
    let book = new Book(policies, undecided)
    const names = new KnownNames(host.clock, addresses => ends.changed(addresses))
    const ends: Ends = new Ends(host, workloads, { nodes, pods }, book, address => names.of(address))
    const report = new Report(host)
    const followed = new FollowedNames(workloads, names)
    followed.follow(policies)
    const unwatch = workloads.onChange(change => {
      if (change.policies) {
        const result = read()
        policies = result.policies
        findings = result.findings
        book = new Book(policies, undecided)
        followed.follow(policies)
      }
      if (change.policies || change.everything) ends.renew(book)
      else {
        ends.changed(change.addresses)
        if (!book.isEmpty) ahead.arrived(change.addresses)
      }
    })

    const ofService = (client: KnownClient, service: GlobalService): ListDecision => {
      const { memory } = client
      const known = memory.service(service)
      if (known !== undefined) return known
      const decision = ends.decisions.service(client, service)
      memory.keepService(service, decision)
      if (memory.shared) ahead.used(memory.shared, service.key)
      return decision
    }
    /** `isWhole`: no backend was tried before, so that the list is asked about again. */
    const ofList = (client: KnownClient, service: GlobalService, backends: Backends, isWhole: boolean): Backends => {
      const { memory } = client
      const known = memory.list(backends)
      if (known !== undefined) return known.left
      const decision = ends.decisions.list(client, backends, service)
      if (isWhole) {
        memory.keepList(backends, decision)
        if (memory.shared) ahead.used(memory.shared, service.key)
      }
      return decision.left
    }
    const services = new Map<ServiceKey, GlobalService>()
    const ahead = new Ahead({
      clock: host.clock,
      kindOf: asking => ends.kindOf(asking),
      decide: (asking, key) => {
        const service = services.get(key)
        if (!service || book.isEmpty) return service !== undefined
        const client = ends.anyLike(asking)
        ofService(client, service)
        ends.addressesIn(service.backends)
        for (const { backends, fresh } of service.frontends) {
          // Where clusters are lost, flows begin with the list of the others.
          for (const list of fresh ? [backends, fresh] : [backends]) {
            ofList(client, service, list, true)
            ends.addressesIn(list)
          }
        }
        return true
      },
      expected: () => (book.isEmpty ? [] : expectedClients(workloads, policies)),
      services: () => services.keys(),
    })
    ends.onRenewed = () => ahead.everything()
    ends.onMet = (kind, asking, shared) => ahead.met(kind, asking, shared)
    if (!book.isEmpty) ahead.everything()
    const refusing = (client: Client, backend: Backend, service: GlobalService): Decision | undefined => {
      const decision = ends.decisions.one(ends.client(client), backend, service)
      return decision.outcome === 'allow' ? undefined : decision
    }

    return {
      admit: (asking, service, asker) => {
        if (book.isEmpty || asking.address === anyone || (asker === 'name' && dns === 'answer')) return undefined
        const client = ends.client(asking)
        const { left, refused } = ofService(client, service)
        if (left.length > 0 || !refused) return undefined
        const { backend, decision: first } = refused
        const who = partyText(client.party)
        const rule = policyOf(first.verdict)?.name
        return {
          code: host.name,
          ...(rule === undefined ? {} : { rule }),
          why: `${who} may not reach ${service.key}: ${verdictText(first.verdict)} (for ${backend.key})`,
        }
      },
      candidates: ({ client: asking, service, frontend, tried }, backends) => {
        // A frontend without a key stands for the question of DNS about a headless service.
        if (book.isEmpty || asking.address === anyone || (frontend.key === '' && dns === 'answer')) return backends
        return ofList(ends.client(asking), service, backends, tried.length === 0)
      },
      onConnect: ({ client, service }, backend) => {
        if (!book.hasAudit) return
        const decision = refusing(client, backend, service)
        if (decision?.outcome === 'audit') report.audited(decision, ends.client(client).party.address, backend)
      },
      onRefused: ({ client, service, frontend }, { code }) => {
        if (code !== host.name) return
        const { refused } = ends.decisions.list(ends.client(client), frontend.backends, service)
        if (refused) report.refused(refused.decision)
      },
      // Before the first flow: what the backends are to the policies.
      onService: service => {
        const { key, backends } = service
        if (backends.length > 0) services.set(key, service)
        else services.delete(key)
        if (book.isEmpty) return
        for (const backend of backends) ends.backend(backend)
        ahead.service(key)
      },
      why: ({ client, service }, backend) => {
        const decision = refusing(client, backend, service)
        return decision && verdictText(decision.verdict)
      },
      findings: () => findings.slice(0, maxFindings),
      state: () => ({
        policies: policies.length,
        audited: policies.filter(policy => policy.audit).length,
        findings: findings.length,
        addresses: workloads.size.addresses,
        names: names.size,
        decided: ahead.pairs,
      }),
      save: () => ({ names: names.save() }),
      restore: saved => names.restore((saved as { names?: unknown } | null)?.names),
      close: () => {
        unwatch()
        followed.close()
        names.close()
        ahead.close()
      },
    }
  },
})

/** Follows the names that the rules of policies are about, while there are any. */
class FollowedNames {
  readonly #workloads: Workloads
  readonly #names: KnownNames
  #patterns = ''
  #stop: () => void = () => {}

  constructor(workloads: Workloads, names: KnownNames) {
    this.#workloads = workloads
    this.#names = names
  }

  follow(policies: readonly Policy[]): void {
    const peers = policies.flatMap(({ rules }) => rules.flatMap(rule => rule.peers.filter(peer => peer.is === 'name')))
    const tests = new Map(peers.map(peer => [peer.pattern, peer.test] as const))
    const patterns = [...tests.keys()].sort().join(' ')
    if (patterns === this.#patterns) return
    this.#patterns = patterns
    this.#stop()
    const isWanted = (name: string) => [...tests.values()].some(test => test.test(name))
    this.#names.retain(isWanted)
    this.#stop = tests.size === 0 ? () => {} : this.#workloads.watchNames(isWanted, answer => this.#names.learn(answer))
  }

  close(): void {
    this.#stop()
  }
}

/** Counts and logs by policy. */
class Report {
  readonly #host: Host
  /** When each policy was logged last; bounded by forgetting all. */
  readonly #loggedAt = new Map<string, number>()

  constructor(host: Host) {
    this.#host = host
  }

  refused({ verdict }: Decision): void {
    const policy = policyOf(verdict)?.name ?? 'none'
    this.#host.counter('refused', 'Flows that a policy refused', { policy }).add()
  }

  audited({ verdict }: Decision, client: string, backend: Backend): void {
    const policy = policyOf(verdict)?.name ?? 'none'
    this.#host.counter('audited', 'Flows that a policy in audit would have refused', { policy }).add()
    const now = this.#host.clock.now()
    const last = this.#loggedAt.get(policy)
    if (last !== undefined && now < last + logEveryMs) return
    if (this.#loggedAt.size >= maxFindings) this.#loggedAt.clear()
    this.#loggedAt.set(policy, now)
    this.#host.log.info('policy.audited', { policy, client, backend: backend.key, why: verdictText(verdict) })
  }
}
