/** Recorded flows in groups, as a rehearsal decides them: flows of one client to one service and backend count as one. */
import type { FlowEvent, FlowRecord } from '../flow-record.ts'

export interface FlowGroup {
  /** The canonical address of the client. */
  readonly client: string
  /** `namespace/name` of its Pod at that time, if it was known. */
  readonly pod?: string
  /** `NAMESPACE/NAME` */
  readonly service: string
  /** `10.96.0.1:80/TCP` */
  readonly frontend: string
  /** The key of the backend, if one was tried. */
  readonly backend?: string
  readonly count: number
}

/** What DNS has answered about a name outside of the clusters. */
export interface NameGroup {
  /** Lower case, without the final dot. */
  readonly name: string
  /** Canonical. */
  readonly addresses: readonly string[]
}

export interface FlowGroups {
  readonly groups: readonly FlowGroup[]
  /** Of the questions in the recording. */
  readonly names: readonly NameGroup[]
  /** Flows that are in no group, since there were too many groups. */
  readonly left: number
  /** Flows that the recording itself has lost. */
  readonly lost: number
}

export const maxFlowGroups = 100_000
export const maxNameGroups = 10_000
/** Of one name. */
export const maxNameAddresses = 1000

/** Questions of DNS are no flows, but say which addresses a name had. */
export function groupFlows(events: Iterable<FlowEvent>): FlowGroups {
  const groups = new Map<string, FlowGroup & { count: number }>()
  const names = new Map<string, Set<string>>()
  let left = 0
  let lost = 0
  for (const event of events) {
    if ('lost_events' in event) {
      lost += event.lost_events.num_events_lost
      continue
    }
    const { IP, source, starlane } = event.flow
    addNames(names, event.flow)
    const { kind, service, frontend, backend } = starlane
    if (kind === 'question' || service === undefined || frontend === undefined) continue
    const pod = source.namespace && source.pod_name ? `${source.namespace}/${source.pod_name}` : undefined
    const key = [IP.source, pod, service, frontend, backend].join(' ')
    const known = groups.get(key)
    if (known) known.count++
    else if (groups.size >= maxFlowGroups) left++
    else {
      groups.set(key, {
        ...{ client: IP.source, service, frontend, count: 1 },
        ...(pod === undefined ? {} : { pod }),
        ...(backend === undefined ? {} : { backend }),
      })
    }
  }
  const named = [...names].map(([name, addresses]) => ({ name, addresses: [...addresses] }))
  return { groups: [...groups.values()], names: named, left, lost }
}

/** Of an answer from outside, by the name that was asked for. */
function addNames(names: Map<string, Set<string>>, { l7, starlane: { zone } }: FlowRecord): void {
  const { query, rcode, ips = [] } = l7?.dns ?? { query: '', rcode: 0 }
  if (zone !== '.' || rcode !== 0 || ips.length === 0) return
  const name = query.toLowerCase().replace(/\.$/, '')
  const known = names.get(name) ?? new Set()
  if (known.size === 0 && names.size >= maxNameGroups) return
  names.set(name, known)
  for (const address of ips) if (known.size < maxNameAddresses) known.add(address)
}
