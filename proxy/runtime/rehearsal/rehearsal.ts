/**
 * Decides recorded flows again under other policies, or without a cluster. Nothing that runs is touched: the plugins that decide by
 * policies are created anew, over the same Pods, and the services are copies.
 */
import { type Chain, createChain } from '../../chain/chain.ts'
import type { HostParts } from '../../chain/host.ts'
import { instantiate, type LoadedPlugin } from '../../chain/loading/instance.ts'
import type { Backend, Backends } from '../../model/backend.ts'
import type { Directory } from '../../model/directory.ts'
import { MeshError, type Problem } from '../../model/error.ts'
import type { Flow } from '../../model/flow.ts'
import type { FlowGroup, FlowGroups, NameGroup } from '../../model/flows/flow-groups.ts'
import type { FlowChange, Rehearsal, RehearsalRequest, ServiceLoss } from '../../model/flows/rehearsal.ts'
import { silentLog } from '../../model/log.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import { inTurns } from '../../model/time/turn.ts'
import type { PolicyObject } from '../../model/workloads/policy-object.ts'
import type { Workloads } from '../../model/workloads/workloads.ts'
import { proposed } from './proposed.ts'

export interface RehearsalParts {
  readonly cluster: string
  readonly directory: Directory
  readonly workloads: Workloads
  readonly plugins: readonly LoadedPlugin[]
  /** The chain of all plugins, for the load that a lost cluster leaves to others. */
  readonly chain: Chain
  readonly host: HostParts
  /** False if those of a cluster could not be read in time. */
  readonly arePodsRead: boolean
}

/** Rejects with a MeshError for manifests that cannot be read. */
export async function rehearse(
  request: RehearsalRequest,
  { groups, names }: Pick<FlowGroups, 'groups' | 'names'>,
  parts: RehearsalParts,
): Promise<Rehearsal> {
  const result: Rehearsal = { flows: 0, skipped: {}, changes: [], services: [], problems: [] }
  if (request.without !== undefined) return { ...result, ...(await loss(request.without, groups, parts)) }
  return { ...result, ...(await newPolicies(request, groups, names, parts)) }
}

const noPlugin =
  'no plugin decides by policies, so Pods are not read; add the plugin policy, with audit: true if it shall not enforce yet'

const podsMissing: Problem = {
  code: 'SOURCE_READ',
  where: 'Pods',
  message:
    'those of a cluster could not be read in time, so clients and backends of it were taken for strangers; see starlane status',
}

async function newPolicies(
  { manifests = [], cluster }: RehearsalRequest,
  groups: readonly FlowGroup[],
  names: readonly NameGroup[],
  parts: RehearsalParts,
): Promise<Partial<Rehearsal>> {
  if (!parts.plugins.some(({ usesWorkloads }) => usesWorkloads)) throw new MeshError('USAGE', noPlugin)
  const { policies, problems } = proposed(manifests, cluster ?? parts.cluster)
  const now = chainOver(overlaid(parts.workloads, [], names), parts)
  const then = chainOver(overlaid(parts.workloads, policies, names), parts)
  const skipped = new Map<string, number>()
  const changes = new Map<string, FlowChange & { flows: number }>()
  let flows = 0
  for await (const group of inTurns(groups)) {
    const asked = flowOf(group, parts)
    if (typeof asked === 'string') {
      skipped.set(asked, (skipped.get(asked) ?? 0) + group.count)
      continue
    }
    flows += group.count
    const change = compare(asked, group, now, then)
    if (!change) continue
    const key = `${change.pod ?? change.client} ${change.service} ${change.to} ${change.why}`
    const known = changes.get(key)
    if (known) known.flows += group.count
    else changes.set(key, { ...change, flows: group.count })
  }
  const found = new Set(now.findings().map(({ message }) => message))
  const fresh: Problem[] = then.findings().filter(({ message }) => !found.has(message))
  await Promise.all([now.close(), then.close()])
  return {
    flows,
    skipped: Object.fromEntries(skipped),
    changes: [...changes.values()].sort((a, b) => b.flows - a.flows),
    problems: [...(parts.arePodsRead ? [] : [podsMissing]), ...problems, ...fresh],
    ...(parts.arePodsRead ? {} : { incomplete: true }),
  }
}

function compare(flow: Flow, group: FlowGroup, now: Chain, then: Chain): Omit<FlowChange, 'flows'> | undefined {
  const { service, client, pod } = group
  const about = { client, ...(pod === undefined ? {} : { pod }), service }
  const before = leftOf(now, flow)
  const after = leftOf(then, flow)
  if (before.keys.length > 0 && after.keys.length === 0) return { ...about, to: 'refused', why: after.why }
  if (before.keys.length === 0 && after.keys.length > 0) return { ...about, to: 'allowed', why: before.why }
  const { backend } = group
  if (backend !== undefined && before.keys.includes(backend) && !after.keys.includes(backend))
    return { ...about, to: 'moved', why: after.whyNot(backend) }
  return undefined
}

/** The backends that the policies leave to a flow, and why they leave none. */
function leftOf(chain: Chain, flow: Flow): { keys: readonly string[]; why: string; whyNot: (key: string) => string } {
  const { steps, refusal } = chain.explain(flow)
  const removed = steps.filter(({ step }) => step !== 'usable').flatMap(step => step.removed)
  const gone = new Set(removed.map(({ backend }) => backend))
  return {
    keys: flow.frontend.backends.map(({ key }) => key).filter(key => !gone.has(key)),
    why: refusal?.why === undefined || removed.length === 0 ? (refusal?.why ?? '') : (removed[0]?.why ?? refusal.why),
    whyNot: key => removed.find(({ backend }) => backend === key)?.why ?? 'it is gone',
  }
}

/** The plugins that decide by policies, created anew. */
function chainOver(workloads: Workloads, { plugins, directory, host }: RehearsalParts): Chain {
  const parts: HostParts = { ...host, workloads, log: silentLog, rehearses: true }
  return createChain({
    plugins: plugins
      .filter(({ usesWorkloads }) => usesWorkloads)
      .map(({ module, options, name, from, given, plugin }) => {
        const copy = instantiate(module, options, parts, { name, from, given })
        // What it has learned, such as names that DNS has answered, holds for the copy too.
        const saved = plugin.save?.()
        if (saved !== undefined) copy.plugin.restore?.(saved)
        return copy
      }),
    balancer: () => ({ pick: (_flow, backends) => backends[0] as Backend }),
    directory,
    clock: host.clock,
    log: silentLog,
  })
}

/** With further policies, and with what DNS has answered as if it had done so just now. */
function overlaid(workloads: Workloads, policies: readonly PolicyObject[], names: readonly NameGroup[]): Workloads {
  const keyOf = ({ cluster, kind, namespace, name }: PolicyObject) => [cluster, kind, namespace, name].join(' ')
  const replaced = new Set(policies.map(keyOf))
  const all = [...workloads.policies().filter(policy => !replaced.has(keyOf(policy))), ...policies]
  return {
    at: (address, cluster) => workloads.at(address, cluster),
    addressesOf: pod => workloads.addressesOf(pod),
    // Nobody waits for a rehearsal: what is asked is decided then.
    examples: () => [],
    policies: () => all,
    size: { ...workloads.size, policies: all.length },
    onChange: () => () => {},
    watchNames: (wants, listener) => {
      for (const name of names) if (wants(name.name)) listener({ ...name, ttlSeconds: 0 })
      return () => {}
    },
  }
}

/** The flow as it would be today; a text if there can be no such flow. */
function flowOf({ client, pod, service: key, frontend: name }: FlowGroup, parts: RehearsalParts): Flow | string {
  const service = parts.directory.service(key)
  if (!service) return 'the service is gone'
  const frontend = service.frontends.find(each => each.key === name) ?? service.frontends[0]
  if (!frontend) return 'the service has no frontend any more'
  if (frontend.backends.length === 0) return 'the service has no backend now'
  const today = parts.workloads.at(client)?.pod
  if (pod !== undefined && today !== undefined && today !== pod) return 'the address of the client is another Pod’s now'
  if (pod !== undefined && today === undefined) return 'the Pod of the client is gone'
  return { id: 0, client: { address: client, port: 0 }, service, frontend, tried: [] }
}

async function loss(
  lost: string,
  groups: readonly FlowGroup[],
  { directory, chain }: RehearsalParts,
): Promise<Pick<Rehearsal, 'flows' | 'services'>> {
  const moved = new Map<string, number>()
  for (const { service, backend, count } of groups)
    if (backend?.startsWith(`${lost}/`)) moved.set(service, (moved.get(service) ?? 0) + count)
  const services: ServiceLoss[] = []
  for await (const service of inTurns(directory.services())) {
    const before = chain.selected(service)
    if (![...service.backends].some(({ cluster }) => cluster === lost)) continue
    const left = withoutCluster(service, lost)
    const after = chain.selected(left)
    const count = moved.get(service.key) ?? 0
    const isHit = [...before].some(key => key.startsWith(`${lost}/`)) || count > 0
    if (!isHit) continue
    const state = after.size === 0 ? 'none' : 2 * after.size < before.size ? 'few' : 'some'
    const load = sharesOf(left.backends.filter(({ key }) => after.has(key)))
    services.push({ service: service.key, state, before: before.size, after: after.size, moved: count, load })
  }
  const order = { none: 0, few: 1, some: 2 }
  services.sort((a, b) => order[a.state] - order[b.state] || b.moved - a.moved || (a.service < b.service ? -1 : 1))
  return { flows: [...moved.values()].reduce((sum, count) => sum + count, 0), services }
}

/** A copy of the service that has never heard of the cluster. */
function withoutCluster(service: GlobalService, lost: string): GlobalService {
  const kept = (backends: Backends) => Object.freeze(backends.filter(({ cluster }) => cluster !== lost))
  const frontends = service.frontends.map((frontend): Frontend => ({ ...frontend, backends: kept(frontend.backends) }))
  const members = service.members.filter(({ cluster }) => cluster !== lost)
  return Object.freeze({ ...service, frontends, members, backends: kept(service.backends) })
}

/** By weight, as the balancer shares new flows out. */
function sharesOf(backends: Backends): Record<string, number> {
  const total = backends.reduce((sum, { weight }) => sum + weight, 0)
  const shares: Record<string, number> = {}
  for (const { cluster, weight } of backends)
    shares[cluster] = (shares[cluster] ?? 0) + (total > 0 ? weight / total : 0)
  return shares
}
