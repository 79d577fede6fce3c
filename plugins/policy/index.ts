/** Network policies across clusters: who may reach which backend, by the policies of the clusters themselves. */
import {
  type Backend,
  boolean,
  type Client,
  cidr,
  definePlugin,
  type GlobalService,
  type Host,
  list,
  oneOf,
} from '../../proxy/plugin.ts'
import { Book } from './book.ts'
import { Ends } from './clients.ts'
import { type Decision, policyOf, verdictText } from './decision.ts'
import type { ListDecision } from './decisions.ts'
import { partyText } from './party.ts'
import { type ReadResult, readPolicies } from './read/policies.ts'

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
    const read = (): ReadResult => readPolicies(workloads.policies(), { defaultLocalCluster, ipBlocks }, audit)
    let { policies, findings } = read()
    let book = new Book(policies, undecided)
    const ends = new Ends(host, workloads, { nodes, pods }, book)
    const report = new Report(host)
    const unwatch = workloads.onChange(change => {
      if (change.policies) {
        const result = read()
        policies = result.policies
        findings = result.findings
        book = new Book(policies, undecided)
      }
      if (change.policies || change.everything) ends.renew(book)
      else ends.changed(change.addresses)
    })

    const ofService = (asking: Client, service: GlobalService): ListDecision => {
      const client = ends.client(asking)
      const known = client.memory.service(service)
      if (known !== undefined) return known
      const decision = ends.decisions.service(client, service)
      client.memory.keepService(service, decision)
      return decision
    }
    const refusing = (client: Client, backend: Backend, service: GlobalService): Decision | undefined => {
      const decision = ends.decisions.one(ends.client(client), backend, service)
      return decision.outcome === 'allow' ? undefined : decision
    }

    return {
      admit: (asking, service, asker) => {
        if (book.isEmpty || asking.address === anyone || (asker === 'name' && dns === 'answer')) return undefined
        const { left, refused } = ofService(asking, service)
        if (left.length > 0 || !refused) return undefined
        const { backend, decision: first } = refused
        const client = partyText(ends.client(asking).party)
        const rule = policyOf(first.verdict)?.name
        return {
          code: host.name,
          ...(rule === undefined ? {} : { rule }),
          why: `${client} may not reach ${service.key}: ${verdictText(first.verdict)} (for ${backend.key})`,
        }
      },
      candidates: ({ client: asking, service, frontend, tried }, backends) => {
        // A frontend without a key stands for the question of DNS about a headless service.
        if (book.isEmpty || asking.address === anyone || (frontend.key === '' && dns === 'answer')) return backends
        const client = ends.client(asking)
        const known = client.memory.list(backends)
        if (known !== undefined) return known.left
        const decision = ends.decisions.list(client, backends, service)
        if (tried.length === 0) client.memory.keepList(backends, decision)
        return decision.left
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
      onService: ({ backends }) => {
        if (!book.isEmpty) for (const backend of backends) ends.backend(backend)
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
      }),
      close: unwatch,
    }
  },
})

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
