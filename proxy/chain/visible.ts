/** Which endpoints of a headless service DNS may answer a client with. */
import { type Backend, type Backends, select, takesFlows } from '../model/backend.ts'
import type { Client } from '../model/flow.ts'
import type { GlobalService } from '../model/service.ts'
import type { ServiceChain } from './compile.ts'
import { headlessFrontend, neutralFlow } from './neutral.ts'

/**
 * Laws narrow the list: a tenant does not see the endpoints of another one. Wishes do not, since the name of a single endpoint
 * must resolve to that endpoint. With `preferred`, for the name of the service itself, wishes that decide at change time
 * (affinity) narrow too. Returns the usable backends of each port, in the same array until something changes: DNS asks often.
 */
export function visibleTo(client: Client, service: GlobalService, chain: ServiceChain, preferred: boolean): Backends {
  const flow = neutralFlow(service, headlessFrontend(service), client)
  let left = service.backends
  for (const step of chain.narrowing) {
    if (left.length === 0) break
    if (step.law) left = step.narrow(flow, left)
    else if (preferred && step.decides === 'change') left = orAll(step.narrow(flow, left), left)
  }
  if (preferred) left = withoutDemoted(left)
  const known = chain.visible.get(left)
  return known ?? chain.visible.set(left, usableOfEachPort(left))
}

const freshOf = new WeakMap<Backends, Backends>()

/** Those of clusters that are not lost for too long, if one of them is ready; the same array for the same list. */
function withoutDemoted(backends: Backends): Backends {
  if (!backends.some(({ demoted }) => demoted)) return backends
  const known = freshOf.get(backends)
  if (known) return known
  const left = backends.filter(({ demoted }) => !demoted)
  const chosen = left.some(takesFlows) ? left : backends
  freshOf.set(backends, chosen)
  return chosen
}

/** A wish that leaves nothing is ignored. */
function orAll(narrowed: Backends, all: Backends): Backends {
  return narrowed.length > 0 ? narrowed : all
}

function usableOfEachPort(backends: Backends): Backends {
  const usable = new Set([...Map.groupBy(backends, portOf).values()].flatMap(select))
  return Object.freeze(backends.filter(backend => usable.has(backend)))
}

function portOf({ family, protocol, ports }: Backend): string {
  return `${family} ${protocol} ${ports.join()}`
}
