/** Recorded flows in groups, as a rehearsal decides them: flows of one client to one service and backend count as one. */
import type { FlowEvent } from '../flow-record.ts'

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

export interface FlowGroups {
  readonly groups: readonly FlowGroup[]
  /** Flows that are in no group, since there were too many groups. */
  readonly left: number
  /** Flows that the recording itself has lost. */
  readonly lost: number
}

export const maxFlowGroups = 100_000

/** Questions of DNS are no flows, and are left out. */
export function groupFlows(events: Iterable<FlowEvent>): FlowGroups {
  const groups = new Map<string, FlowGroup & { count: number }>()
  let left = 0
  let lost = 0
  for (const event of events) {
    if ('lost_events' in event) {
      lost += event.lost_events.num_events_lost
      continue
    }
    const { IP, source, starlane } = event.flow
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
  return { groups: [...groups.values()], left, lost }
}
